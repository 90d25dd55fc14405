package httpapi

import (
	"context"
	"errors"
	"log/slog"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"berth/internal/access"
	"berth/internal/session"
)

// admit rejects requests whose principal may not use the verb on the session in the path.
func (a *API) admit(v access.Verb) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		id, _ := session.ParseID(ctx.Param("id"))
		r, _ := humago.Unwrap(ctx)
		p, err := a.Access.Admit(ctx.Context(), access.Ask{
			Surface: access.API, Operation: ctx.Operation().OperationID, Verb: v, Session: id,
			Secret: access.ReadCredential(r.Header["Authorization"], access.ViaBearer),
		}, tokens{a})
		if err != nil {
			a.reject(ctx, err)
			return
		}
		next(huma.WithContext(ctx, access.WithPrincipal(ctx.Context(), p)))
	}
}

// reject responds with 401, or 429 to clients over the limit.
func (a *API) reject(ctx huma.Context, err error) {
	level := slog.LevelWarn
	r, _ := errors.AsType[*access.RejectionError](err)
	if r.Reason == access.Limited {
		level = slog.LevelDebug
	}
	a.Logger.Log(ctx.Context(), level, "request refused",
		"operation", ctx.Operation().OperationID, "remote", access.ClientOf(ctx.Context()).Address, "reason", r.Reason)
	p := ProblemOf(err)
	if p.Code == session.CodeUnauthorized {
		p.headers.Set("WWW-Authenticate", `Bearer realm="berth"`)
	}
	for name := range p.headers {
		ctx.SetHeader(name, p.headers.Get(name))
	}
	_ = huma.WriteErr(a.huma, ctx, p.Status, p.Detail)
}

// tokens looks up the tokens of sessions. The store is not queried for clients over the limit of
// rejected requests; for them, and while it is unavailable, the tokens in memory are used.
type tokens struct{ *API }

// TokenOf implements [access.Tokens].
func (t tokens) TokenOf(ctx context.Context, id session.ID) session.Token {
	if id == "" {
		return session.Token{}
	}
	if !t.Access.IsLimited(ctx) {
		s, err := t.Sessions.Get(ctx, id)
		switch session.CodeOf(err) {
		case "":
			return s.Token
		case session.CodeNotFound:
			return session.Token{}
		}
	}
	return t.Known(id)
}

// maySeeDetails reports whether a response may have details that are not public.
func maySeeDetails(ctx context.Context) bool {
	return access.May(access.PrincipalOf(ctx), access.Details, "")
}

// stillAuthorized reports whether an admitted stream may continue, given the present state of the session.
func (a *API) stillAuthorized(ctx context.Context, s session.Session) bool {
	return access.PrincipalOf(ctx).StillHolds(s.Token, a.Now())
}
