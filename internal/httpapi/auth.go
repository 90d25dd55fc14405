package httpapi

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/session"
)

// access says who may call a route.
type access int

const (
	open                access = iota // everyone
	admin                             // the operator
	adminOrOwnToken                   // the operator, and the holder of the token of the session in {id}, or of the one before in its grace
	adminOrPresentToken               // the same without the one before: who has an old token is not to replace the new one
)

// Attempts remembers from where requests without a valid token have come.
type Attempts interface {
	// Limited reports whether so many have come from there that another one is not worth any work.
	Limited(remote string) bool
	// Refused counts and records a refusal on the route of an operation, and returns for how long its sender is not to try
	// again; 0: it may.
	Refused(ctx context.Context, id session.ID, operation string, why session.Standing) (wait time.Duration)
}

// anyNumber is an Attempts without a limit.
type anyNumber struct{}

func (anyNumber) Limited(string) bool { return false }

func (anyNumber) Refused(context.Context, session.ID, string, session.Standing) time.Duration {
	return 0
}

// caller is who made a request.
type caller struct {
	operator bool
	token    session.Secret
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// isOperator reports whether the request came with the admin token.
func isOperator(ctx context.Context) bool { return callerOf(ctx).operator }

// mayGoOn reports whether what was let in may go on, given what is known of the session now.
func (a *API) mayGoOn(ctx context.Context, s session.Session) bool {
	c := callerOf(ctx)
	return c.operator || a.Keys.Check(c.token, s.Token, a.Now()).LetIn()
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
		standing := session.Present
		if !operator && who != open {
			standing = a.standing(ctx, who, token)
		}
		by := as(huma.WithValue(ctx, callerKey{}, caller{operator, token}), operator, token)
		if who == open {
			next(by)
			return
		}
		id, _ := session.ParseID(ctx.Param("id"))
		if !standing.LetIn() {
			a.refuse(ctx, id, standing)
			return
		}
		a.Authenticated(by.Context(), id, ctx.Operation().OperationID, standing)
		next(by)
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

// standing is what the token of somebody who is not the operator is worth for a route.
func (a *API) standing(ctx huma.Context, who access, token session.Secret) session.Standing {
	switch {
	case token == "":
		return session.Missing
	case who == admin:
		return session.Wrong
	}
	standing := a.Keys.Check(token, a.tokens(ctx), a.Now())
	if who == adminOrPresentToken && standing == session.Previous {
		return session.Wrong
	}
	return standing
}

// tokens is what is known of the tokens of the session that the path names; nothing if there is none. The store is not
// asked for those who have shown many wrong ones lately, nor waited for when it is away: what is in memory must do.
func (a *API) tokens(ctx huma.Context) session.Token {
	id, err := session.ParseID(ctx.Param("id"))
	if err != nil {
		return session.Token{}
	}
	if !a.Attempts.Limited(ctx.RemoteAddr()) {
		s, err := a.Sessions.Get(ctx.Context(), id)
		switch session.CodeOf(err) {
		case "":
			return s.Token
		case session.CodeNotFound:
			return session.Token{}
		}
	}
	return a.Known(id)
}

// refusals are what the refused are told.
var refusals = map[session.Standing]string{
	session.Missing: "this needs a token: send it as Authorization: Bearer <token>",
	session.Wrong:   "this token is not good for this; send the admin token, or for a session's own address its session token",
	session.Expired: "the session's token has expired; have the operator rotate it and use the new one",
}

// remote is the client's address for the log. A forwarded client's port is not known, which net/http writes as 0.
func remote(ctx huma.Context) string {
	address := ctx.RemoteAddr()
	if host, unknown := strings.CutSuffix(address, ":0"); unknown {
		return strings.Trim(host, "[]")
	}
	return address
}

// refuse answers 401, and 429 to those who try too often.
func (a *API) refuse(ctx huma.Context, id session.ID, why session.Standing) {
	if wait := a.Attempts.Refused(ctx.Context(), id, ctx.Operation().OperationID, why); wait > 0 {
		a.Logger.DebugContext(ctx.Context(), "request refused", "operation", ctx.Operation().OperationID, "remote", remote(ctx), "reason", "limited")
		ctx.SetHeader("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		_ = huma.WriteErr(a.huma, ctx, http.StatusTooManyRequests, "too many requests without a valid token came from this address; send a valid one, or try again later")
		return
	}
	a.Logger.WarnContext(ctx.Context(), "request refused", "operation", ctx.Operation().OperationID, "remote", remote(ctx), "reason", why)
	ctx.SetHeader("WWW-Authenticate", `Bearer realm="berth"`)
	_ = huma.WriteErr(a.huma, ctx, http.StatusUnauthorized, refusals[why])
}
