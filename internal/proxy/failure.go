package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"berth/internal/outcome"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// StatusClientClosedRequest is the status, in logs and observations, of a request that the client canceled before the answer;
// nginx uses the same number.
const StatusClientClosedRequest = 499

// explain returns the cause of a failed request: Berth, the client or the session's server.
func (p *Proxy) explain(c *call, err error) error {
	if cause := c.stopped(); cause != nil {
		return cause
	}
	if _, ok := errors.AsType[*http.MaxBytesError](c.body.err()); ok {
		return p.rules.TooLarge()
	}
	if ctx := c.in.Context(); ctx.Err() != nil {
		return session.Errorf(session.CodeCanceled, "the client left").Because(context.Cause(ctx))
	}
	if fault := c.body.err(); fault != nil {
		return session.Errorf(session.CodeMalformed, "the request's body broke off or is malformed; send it again").Because(fault)
	}
	if f, ok := errors.AsType[*session.Failure](err); ok {
		return f
	}
	return session.Errorf(session.CodeUpstream,
		"the session's server did not answer; try again, and restart the session if that does not help").After(time.Second).Because(err)
}

// fail responds with err. It sends nothing if the response has started or the client has closed the request; in the latter case
// it aborts the connection.
func (p *Proxy) fail(c *call, err error) {
	code := session.CodeOf(err)
	p.logFailure(c, code, err)
	if c.w.hijacked || c.w.status != 0 {
		return
	}
	if code == session.CodeCanceled {
		c.w.status = StatusClientClosedRequest
		panic(http.ErrAbortHandler) // returning would send an empty 200 to a client that has only stopped writing
	}
	h := c.w.Header()
	switch code {
	case session.CodeUnauthorized:
		if challenges := c.request.Challenges(); len(challenges) > 0 {
			h["Www-Authenticate"] = challenges
		}
	case session.CodeMethod:
		h.Set("Allow", policy.AllowedMethods)
	}
	if wait := outcome.RetryAfter(err); wait > 0 {
		h.Set("Retry-After", seconds(wait))
	}
	if (code == session.CodeTooLarge || c.wasCut()) && c.ownsConnection() {
		h.Set("Connection", "close") // the rest of the body is not read
	}
	p.writeProblem(c.w, c.in, err)
}

// logFailure logs a failure at the level of its code, or at DEBUG beyond the session's share.
func (p *Proxy) logFailure(c *call, code session.Code, err error) {
	level := outcome.Of(code).Level
	if errors.Is(err, policy.ErrCredentialRefused) {
		level = slog.LevelError
	}
	if level > slog.LevelDebug && !p.mayLog(c.request.Place.Session) {
		level = slog.LevelDebug
	}
	p.log.Log(c.in.Context(), level, "session's server failed a request",
		"operation", "proxy", "method", c.in.Method, "route", route,
		"session_id", string(c.request.Place.Session), "request_id", c.request.ID, "error", fmt.Sprint(err))
}
