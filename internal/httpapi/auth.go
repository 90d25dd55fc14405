package httpapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"berth/internal/access"
	"berth/internal/outcome"
	"berth/internal/session"
)

// admit rejects requests whose principal may not use the verb on the session in the path.
func (a *API) admit(v access.Verb) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		id, _ := session.ParseID(ctx.Param("id"))
		r, _ := humago.Unwrap(ctx)
		p, err := a.Access.Admit(ctx.Context(), access.Ask{
			Surface: access.API, Operation: ctx.Operation().OperationID, Verb: v, Session: id,
			Secret: access.ReadCredential(r.Header["Authorization"], access.ViaBearer), Person: personOf(r),
		}, known{a})
		if err != nil {
			a.reject(ctx, err)
			return
		}
		within, done := a.Access.While(access.WithPrincipal(ctx.Context(), p), p)
		defer done()
		next(huma.WithContext(ctx, within))
	}
}

// reject responds with 401, 403 or 404, with 429 to clients over the limit, or with the failure of the store.
func (a *API) reject(ctx huma.Context, err error) {
	level, reason := slog.LevelWarn, ""
	if r, ok := errors.AsType[*access.RejectionError](err); ok {
		reason = r.Reason
	}
	if reason == access.Limited || reason == access.Forbidden { // a client decides how often
		level = slog.LevelDebug
	}
	p := ProblemOf(err)
	if reason == "" {
		level = outcome.Of(p.Code).Level
	}
	a.Logger.Log(ctx.Context(), level, "request refused",
		"operation", ctx.Operation().OperationID, "remote", access.ClientOf(ctx.Context()).Address, "reason", cmp.Or(reason, string(p.Code)))
	if p.Code == session.CodeUnauthorized {
		p.headers.Set("WWW-Authenticate", `Bearer realm="berth"`)
	}
	for name := range p.headers {
		ctx.SetHeader(name, p.headers.Get(name))
	}
	ctx.SetHeader("Content-Type", problemType)
	ctx.SetStatus(p.Status)
	_ = a.huma.Marshal(ctx.BodyWriter(), "application/json", p.complete(ctx.Header(requestIDHeader))) // the client has closed the connection
}

// known looks up the tokens and owners of sessions.
type known struct{ *API }

// TokenOf implements [access.Sessions]. The store is not queried for clients over the limit of rejected requests; for them, and
// while it is unavailable, the tokens in memory are used.
func (k known) TokenOf(ctx context.Context, id session.ID) session.Token {
	if id == "" {
		return session.Token{}
	}
	if !k.Access.IsLimited(ctx) {
		s, err := k.Sessions.Get(ctx, id)
		switch session.CodeOf(err) {
		case "":
			return s.Token
		case session.CodeNotFound:
			return session.Token{}
		}
	}
	return k.Known(id)
}

// OwnerOf implements [access.Sessions].
func (k known) OwnerOf(ctx context.Context, id session.ID) (string, error) {
	s, err := k.Sessions.Get(ctx, id)
	return s.Owner, err
}

// maySeeDetails reports whether a response may have details that are not public.
func maySeeDetails(ctx context.Context) bool {
	return access.May(access.PrincipalOf(ctx), access.Details, "", "")
}

// stillAuthorized reports whether an admitted stream may continue, given the present state of the session.
func (a *API) stillAuthorized(ctx context.Context, s session.Session) bool {
	return access.PrincipalOf(ctx).StillHolds(s.Token, a.Now())
}
