package model

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Kind is an API of models.
type Kind string

// The kinds.
const (
	OpenAICompatible Kind = "openai-compatible" // chat/completions, which many servers speak
	OpenAI           Kind = "openai"
	Anthropic        Kind = "anthropic"
	Google           Kind = "google"
)

// api is the form of a call's body and answer.
type api int

const (
	apiNone api = iota
	apiList     // of models, which the gateway answers itself
	apiChat
	apiResponses
	apiMessages
	apiCount // of a request's tokens
	apiGenerate
)

// operation is one call of a kind's API that sessions may make.
type operation struct {
	api     api
	path    string // behind the provider's base URL
	query   string // sent to the provider
	model   string // if the path names it
	stream  bool   // if the path says so
	members map[string]rule
}

// prefix is the version in the paths of a kind, as its clients know it.
func (k Kind) prefix() string {
	if k == Google {
		return "/v1beta/"
	}
	return "/v1/"
}

// bodies are the calls of each kind with the rules of their bodies; Google's have the model in their path.
var bodies = map[Kind]map[string]operation{
	OpenAICompatible: {"chat/completions": {api: apiChat, members: chat}},
	OpenAI:           {"chat/completions": {api: apiChat, members: chat}, "responses": {api: apiResponses, members: responses}},
	Anthropic:        {"messages": {api: apiMessages, members: messages}, "messages/count_tokens": {api: apiCount, members: messages}},
	Google:           {},
}

// operationOf is the call of a kind that a method and target name: the path behind "/models/NAME". Everything that is not in the
// closed list is refused, and so is each other spelling of what is in it.
func operationOf(kind Kind, method, path string, query string) (operation, *refusal) {
	rest, found := strings.CutPrefix(path, kind.prefix())
	if !found {
		return operation{}, refusePath(kind, method, path)
	}
	if method == http.MethodGet && rest == "models" && plainQuery(query) {
		return operation{api: apiList}, nil
	}
	if method != http.MethodPost {
		return operation{}, refusePath(kind, method, path)
	}
	o, found := bodies[kind][rest]
	switch {
	case found:
		o.path = "/" + rest
	case kind == Google:
		o = generateOf(rest, query)
	}
	switch {
	case o.api == apiNone:
		return operation{}, refusePath(kind, method, path)
	case query != o.query && !(kind == Anthropic && query == "beta=true"):
		return operation{}, refuse(RulePath, "the gateway does not send the query of this call: credentials and other options have no place there")
	}
	return o, nil
}

// plainQuery reports whether a query does no more than to page.
func plainQuery(query string) bool {
	values, err := url.ParseQuery(query)
	return err == nil && !slices.ContainsFunc(slices.Collect(maps.Keys(values)), func(name string) bool {
		return name != "limit" && name != "pageSize"
	})
}

// generateOf is the call of Google's API behind "/v1beta/". Streams are only in the form of events.
func generateOf(rest, query string) operation {
	name, verb, _ := strings.Cut(strings.TrimPrefix(rest, "models/"), ":")
	if !strings.HasPrefix(rest, "models/") || name == "" || strings.Contains(name, "/") {
		return operation{}
	}
	o := operation{api: apiGenerate, path: "/" + rest, model: name, members: generate}
	switch {
	case verb == "streamGenerateContent":
		o.stream, o.query = true, "alt=sse"
	case verb != "generateContent":
		return operation{}
	case query == "alt=json":
		o.query = query
	}
	return o
}

func refusePath(kind Kind, method, path string) *refusal {
	return refuse(RulePath, "the gateway does not pass on %.16s %.200q: for sessions this provider has %s", method, path, strings.Join(kind.calls(), ", "))
}

// calls are the calls of a kind, for people.
func (k Kind) calls() []string {
	all := []string{"GET " + k.prefix() + "models"}
	for _, rest := range slices.Sorted(maps.Keys(bodies[k])) {
		all = append(all, fmt.Sprintf("POST %s%s", k.prefix(), rest))
	}
	if k == Google {
		all = append(all, "POST /v1beta/models/MODEL:generateContent", "POST /v1beta/models/MODEL:streamGenerateContent?alt=sse")
	}
	return all
}

// canonical reports whether a path is spelt in the one way that needs no decoding: without escapes, empty or dot segments.
func canonical(u *url.URL) bool {
	if u.RawPath != "" || !strings.HasPrefix(u.Path, "/") {
		return false
	}
	for segment := range strings.SplitSeq(u.Path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return strings.IndexFunc(u.Path, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~:@/", r))
	}) < 0
}
