package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/session"
)

// access says who may call a route.
type access int

const (
	open            access = iota // everyone
	admin                         // the operator
	adminOrOwnToken               // the operator, and the holder of the token of the session in {id}
)

type callerKey struct{}

// isOperator reports whether the request came with the admin token.
func isOperator(ctx context.Context) bool {
	is, _ := ctx.Value(callerKey{}).(bool)
	return is
}

// bearer returns the token of an Authorization header; "" when there is none.
func bearer(header string) session.Secret {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return session.Secret(strings.TrimSpace(token))
}

// guard refuses callers who may not call the route. Those who hold no admin token get the same answer for a session
// that is not theirs and for one that does not exist.
func (a *API) guard(who access) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		token := bearer(ctx.Header("Authorization"))
		operator := token != "" && a.isAdmin(token)
		allowed := who == open || operator
		if who == adminOrOwnToken && !operator && token != "" {
			allowed = a.ownsSession(ctx, token)
		}
		if !allowed {
			a.refuse(ctx, token != "")
			return
		}
		next(as(huma.WithValue(ctx, callerKey{}, operator), operator, token))
	}
}

// as says on whose wish things are done.
func as(ctx huma.Context, operator bool, token session.Secret) huma.Context {
	switch {
	case operator:
		return huma.WithContext(ctx, session.WithActor(ctx.Context(), "operator"))
	case token != "":
		return huma.WithContext(ctx, session.WithActor(ctx.Context(), "user"))
	}
	return ctx
}

// ownsSession reports whether the token is the valid one of the session that the path names. Every way to "no" costs
// one comparison, so that time does not tell whether the session exists.
func (a *API) ownsSession(ctx huma.Context, token session.Secret) bool {
	s := session.Session{TokenDigest: strings.Repeat("0", 64)}
	if id, err := session.ParseID(ctx.Param("id")); err == nil {
		if found, err := a.Sessions.Get(ctx.Context(), id); err == nil {
			s = found
		}
	}
	matches := a.Keys.Matches(token, s.TokenDigest)
	return matches && s.ID != "" && s.TokenValid(a.Now())
}

// refuse answers 401.
func (a *API) refuse(ctx huma.Context, hadToken bool) {
	detail := "this needs a token: send it as Authorization: Bearer <token>"
	if hadToken {
		detail = "this token is not good for this; send the admin token, or for a session's own address its session token"
	}
	a.Logger.WarnContext(ctx.Context(), "request refused", "operation", ctx.Operation().OperationID, "remote", ctx.RemoteAddr())
	ctx.SetHeader("WWW-Authenticate", `Bearer realm="berth"`)
	_ = huma.WriteErr(a.huma, ctx, http.StatusUnauthorized, detail)
}
