package httpapi

import (
	"context"
	"log/slog"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/access"
	"berth/internal/outcome"
)

// maxBody bounds the JSON that the API reads.
const maxBody = 256 << 10

func apiConfig(version string) huma.Config {
	config := huma.DefaultConfig("Berth", version)
	config.Info.Description = "A private OpenCode server for every user, in a container of its own."
	format := jsonFormat()
	config.Formats = map[string]huma.Format{"application/json": format, "json": format}
	config.DocsPath = "" // the framework's page loads its script from another site
	config.SchemasPath = ""
	config.OpenAPIPath = ""  // served from memory instead: the framework creates it at the first request, without a lock
	config.CreateHooks = nil // no $schema member in responses
	config.Transformers = []huma.Transformer{asProblem}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"admin":    {Type: "http", Scheme: "bearer", Description: "The operator's token."},
		"platform": {Type: "http", Scheme: "bearer", Description: "A platform token with the scope."},
		"owner":    {Type: "http", Scheme: "bearer", Description: "A person who has signed in, for the person's own sessions."},
		"session":  {Type: "http", Scheme: "bearer", Description: "The token of the session in the path."},
	}
	return config
}

// securityOf documents who may use a verb.
func securityOf(v access.Verb) []map[string][]string {
	schemes := []map[string][]string{}
	if access.Reaches(v, access.Anonymous) != access.None {
		return schemes
	}
	if access.Reaches(v, access.Operator) != access.None {
		schemes = append(schemes, map[string][]string{"admin": {}})
	}
	if access.Reaches(v, access.Platform) != access.None {
		schemes = append(schemes, map[string][]string{"platform": access.ScopeFor(v).Names()})
	}
	if access.Reaches(v, access.Owner) != access.None {
		schemes = append(schemes, map[string][]string{"owner": {}})
	}
	if access.Reaches(v, access.SessionToken) != access.None {
		schemes = append(schemes, map[string][]string{"session": {}})
	}
	return schemes
}

// plainText documents a response that is not JSON.
func plainText() map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}},
	}
}

// register adds a route for the principals that may use the verb. Errors that the handler returns become problem documents here
// only.
func register[I, O any](a *API, v access.Verb, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	a.all = append(a.all, Route{op.Method, op.Path, v})
	op.Security = securityOf(v)
	op.Middlewares = huma.Middlewares{a.admit(v), readBody}
	op.MaxBodyBytes = maxBody
	// A deadline would cancel a request without a body, because net/http reads on its connection in the background.
	// Requests without a valid token do not get here.
	op.BodyReadTimeout = -1
	responses := map[string]*huma.Response{"default": a.problemResponse()}
	for status, r := range op.Responses {
		responses[status] = r
	}
	op.Responses = responses
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		var out *O
		err := error(nil)
		if about, ok := any(in).(interface{ check() error }); ok {
			err = about.check()
		}
		if err == nil {
			out, err = handle(ctx, in)
		}
		if err == nil {
			return out, nil
		}
		p := ProblemOf(err)
		if level := outcome.Of(p.Code).Level; level >= slog.LevelWarn {
			a.Logger.Log(ctx, level, "request failed", "operation", op.OperationID, "code", p.Code, "error", err)
		}
		return nil, &p
	})
}

func (a *API) problemResponse() *huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	return &huma.Response{
		Description: "A problem",
		Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
	}
}
