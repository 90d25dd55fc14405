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

// StatusClientLeft stands in logs and observations for a request whose client did not wait for the answer; it is nginx's number.
const StatusClientLeft = 499

// explain finds out who ended a request: us, the client, or its server.
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

// fail answers with err. Where nothing can be answered any more it sees to it that the client does not take what it
// has for an answer.
func (p *Proxy) fail(c *call, err error) {
	code := session.CodeOf(err)
	p.logFailure(c, code, err)
	if c.w.hijacked || c.w.status != 0 {
		return
	}
	if code == session.CodeCanceled {
		c.w.status = StatusClientLeft
		panic(http.ErrAbortHandler) // returning would send an empty 200 to a client that has only stopped writing
	}
	h := c.w.Header()
	switch code {
	case session.CodeUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="berth"`)
	case session.CodeMethod:
		h.Set("Allow", policy.AllowedMethods)
	}
	if wait := outcome.RetryAfter(err); wait > 0 {
		h.Set("Retry-After", seconds(wait))
	}
	if code == session.CodeTooLarge || c.wasCut() {
		h.Set("Connection", "close") // there may be a body that nobody is going to read
	}
	p.writeProblem(c.w, c.in, err)
}

// logFailure logs a failure at the level of its code, unless there are too many of one session. What is the
// client's affair is at DEBUG: it is in the access log as well.
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
