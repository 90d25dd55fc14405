package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// PlatformToken is a token for a program in the API. The secret is not part of it.
type PlatformToken struct {
	ID         access.TokenID `json:"token_id" example:"tok-gezdgnbvgy3tqojq"`
	Name       string         `json:"name"`
	Scopes     []string       `json:"scopes"`
	Owner      string         `json:"owner,omitempty" doc:"everything is done as this owner; absent: for all owners"`
	CreatedAt  time.Time      `json:"created_at"`
	CreatedBy  string         `json:"created_by" example:"operator"`
	ExpiresAt  *time.Time     `json:"expires_at,omitempty" doc:"absent: never"`
	LastUsedAt *time.Time     `json:"last_used_at,omitempty" doc:"to a minute; absent: not yet"`
}

// NewPlatformToken is the response to a create: the token with its secret.
type NewPlatformToken struct {
	PlatformToken
	Token string `json:"token" doc:"the secret; not shown again"`
}

func platformToken(t access.PlatformToken) PlatformToken {
	return PlatformToken{
		ID: t.ID, Name: t.Name, Scopes: t.Scopes.Names(), Owner: t.Owner, CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
		ExpiresAt: timeOf(t.ExpiresAt), LastUsedAt: timeOf(t.LastUsedAt),
	}
}

// registry returns the platform tokens; an error where there are none.
func (a *API) registry() (*access.Registry, error) {
	if a.Access.Tokens == nil {
		return nil, session.Errorf(session.CodeNotFound, "there are no platform tokens here")
	}
	return a.Access.Tokens, nil
}

type createTokenInput struct {
	Body struct {
		Name      string   `json:"name" maxLength:"64" doc:"names the token in records; letters, digits and . _ -" example:"ci"`
		Scopes    []string `json:"scopes" minItems:"1" maxItems:"16" enum:"sessions:create,sessions:read,sessions:write,sessions:delete,sessions:open,metrics,audit" doc:"what the token is for"`
		Owner     string   `json:"owner,omitempty" maxLength:"255" doc:"bind the token to this owner"`
		ExpiresIn string   `json:"expires_in,omitempty" maxLength:"32" example:"720h" doc:"after which it expires, as a time like 720h; absent: never"`
	}
}

type createTokenOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         NewPlatformToken
}

func (a *API) createPlatformToken(ctx context.Context, in *createTokenInput) (*createTokenOutput, error) {
	tokens, err := a.registry()
	if err != nil {
		return nil, err
	}
	req := access.TokenRequest{Name: in.Body.Name, Owner: in.Body.Owner}
	if req.Scopes, err = access.ParseScopes(in.Body.Scopes); err != nil {
		return nil, err
	}
	if req.Life, err = lifeOf(in.Body.ExpiresIn); err != nil {
		return nil, err
	}
	t, secret, err := tokens.Create(ctx, req)
	a.recordToken(ctx, "create_platform_token", access.PlatformToken{ID: t.ID, Name: req.Name, Scopes: req.Scopes, Owner: req.Owner, ExpiresAt: t.ExpiresAt}, err)
	if err != nil {
		return nil, err
	}
	return &createTokenOutput{CacheControl: "no-store", Body: NewPlatformToken{platformToken(t), secret.Reveal()}}, nil
}

// lifeOf parses the time after which a token expires; 0: never.
func lifeOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	life, err := time.ParseDuration(text)
	if err != nil || life <= 0 {
		return 0, &Problem{
			Status: http.StatusUnprocessableEntity, Code: session.CodeInvalid, Detail: "expires_in must be a time like 720h; leave it out for a token that does not expire",
			Faults: []Fault{{Message: "expected a time above 0 with its unit", Location: "body.expires_in"}},
		}
	}
	return life, nil
}

type listTokensOutput struct {
	Body struct {
		Tokens []PlatformToken `json:"tokens" doc:"the oldest first"`
	}
}

func (a *API) listPlatformTokens(ctx context.Context, _ *struct{}) (*listTokensOutput, error) {
	tokens, err := a.registry()
	if err != nil {
		return nil, err
	}
	all, err := tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &listTokensOutput{}
	out.Body.Tokens = make([]PlatformToken, len(all))
	for i, t := range all {
		out.Body.Tokens[i] = platformToken(t)
	}
	return out, nil
}

// TokenIDParam is the platform token in the path. It is exported as [IDParam] is.
type TokenIDParam struct {
	ID access.TokenID `path:"token_id" maxLength:"64" example:"tok-gezdgnbvgy3tqojq"`
}

func (a *API) revokePlatformToken(ctx context.Context, in *TokenIDParam) (*deleteOutput, error) {
	tokens, err := a.registry()
	if err != nil {
		return nil, err
	}
	t, err := tokens.Revoke(ctx, in.ID)
	a.recordToken(ctx, "revoke_platform_token", t, err)
	if err != nil {
		return nil, err
	}
	return &deleteOutput{Status: http.StatusNoContent}, nil
}

// recordToken writes to the audit trail.
func (a *API) recordToken(ctx context.Context, did string, t access.PlatformToken, err error) {
	outcome := access.OK
	more := []slog.Attr{}
	for _, field := range [][2]string{{"token_id", string(t.ID)}, {"token", t.Name}, {"scopes", t.Scopes.String()}, {"owner", t.Owner}} {
		if field[1] != "" {
			more = append(more, slog.String(field[0], field[1]))
		}
	}
	if !t.ExpiresAt.IsZero() {
		more = append(more, slog.Time("expires_at", t.ExpiresAt))
	}
	if err != nil {
		outcome = access.Failed
		more = append(more, slog.String("code", string(session.CodeOf(err))))
	}
	a.Access.Trail.Record(ctx, did, "", outcome, more...)
}
