package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"sync"
	"time"

	"berth/internal/session"
)

// StatusClientLeft stands in logs and observations for a request whose client did not wait for the answer; it is nginx's number.
const StatusClientLeft = 499

// flushEvery is how long bytes of an answer of known length may wait for more of it. Event streams and answers of
// unknown length do not wait at all: ReverseProxy sees to that.
const flushEvery = 10 * time.Millisecond

var (
	errBodyGone          = errors.New("the beginning of the body is not kept any more")
	errStatus            = session.Errorf(session.CodeUpstream, "the session's server answered with a status that HTTP does not know")
	errCredentialRefused = errors.New("upstream answered 401")
)

func (p *Proxy) newReverse() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      sessionTransport{},
		ModifyResponse: p.modifyResponse,
		ErrorHandler:   p.upstreamError,
		FlushInterval:  flushEvery,
		BufferPool:     new(bufferPool),
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// forward sends the checked request to its server and the answer back.
func (p *Proxy) forward(c *call) error {
	c.entry.upstream.ready(p.transport, &p.upstreams)
	if c.webSocket = wantsWebSocket(c.in); !c.webSocket {
		delete(c.in.Header, "Upgrade")
	}
	c.takeBody(p.maxBody)

	// A server's own time-outs are for requests that it answers itself. This comes before anything can call abort.
	rc := http.NewResponseController(c.w.ResponseWriter)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})

	ctx, cancel := context.WithCancelCause(context.WithValue(c.in.Context(), callKey{}, c))
	defer cancel(nil)
	c.endWith = func(above context.Context) (forget func() bool) {
		return context.AfterFunc(above, func() {
			cancel(context.Cause(above))
			c.abort()
		})
	}
	defer c.endWith(c.grant.ctx)()
	defer c.endWith(p.life)()
	defer func() { c.leaveStreams() }()
	defer c.end()

	p.touch(c.id)
	c.entry.touched.Store(time.Now().UnixNano())
	c.w.active = func() {
		if c.entry.due(time.Now()) {
			p.touch(c.id)
		}
	}

	giveBack, err := c.entry.upstream.takePlace(ctx, &p.connections.waiting)
	if err != nil {
		return p.explain(c, err)
	}
	c.giveBack = giveBack
	defer func() { c.giveBack() }()

	c.header.begin(p.headerTimeout(c), c.body, cancel)
	defer c.header.stop()
	r := c.in.WithContext(ctx)
	if c.body != nil {
		r.Body = c.body
	}
	defer c.closeTunnel()
	p.reverse.ServeHTTP(c.w, r)
	return nil
}

func (c *call) closeTunnel() {
	if c.tunnel != nil {
		_ = c.tunnel.Close()
	}
}

func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	c := callOf(pr.In.Context())
	out := pr.Out
	// The path was decoded once by the server, and splitting it at slashes cannot break an escape: no error to expect.
	u, err := upstreamURL(c.entry.route.Address, c.rest, withoutToken(pr.In.URL.RawQuery), pr.In.URL.ForceQuery)
	if err != nil {
		u = nil // the transport refuses the request
	}
	out.URL = u
	out.Host = pr.In.Host // OpenCode compares it with Origin

	tidyRequest(out.Header)
	pr.SetXForwarded()
	out.Header.Set("X-Forwarded-Proto", p.scheme(pr.In))
	out.Header.Set("X-Forwarded-Prefix", c.prefix())
	out.Header.Set(requestIDHeader, c.requestID)
	out.Header.Set("Authorization", c.entry.authorization.Reveal())

	out.Trailer = nil
	if c.body != nil && out.Body != nil {
		out.GetBody = c.body.again
		out.Trailer = c.body.forwardTrailer(pr.In.Trailer)
	}
}

// modifyResponse is called with every response header, and with 101 Switching Protocols.
func (p *Proxy) modifyResponse(res *http.Response) error {
	c := callOf(res.Request.Context())
	if !c.header.headerInTime() {
		return errHeaderTimeout
	}
	var heard []byte
	if c.conn != nil {
		heard = c.conn.recorded()
	}
	switch status := res.StatusCode; {
	case status == http.StatusSwitchingProtocols:
		if err := c.switchProtocols(res); err != nil {
			return err
		}
	case status < 200 || status > 599:
		return errStatus
	case res.Close && res.ProtoAtLeast(1, 1):
		named, ok := connectionHeader(heard)
		if !ok {
			return errInterim
		}
		dropNamed(res.Header, named)
	}
	if res.StatusCode == http.StatusUnauthorized {
		// Ours was refused, not the client's: it must not be asked for another.
		return session.Errorf(session.CodeUpstream,
			"the session's server does not accept Berth's credential; restart the session").Because(errCredentialRefused)
	}
	filterHeader(res.Header, c)
	if _, typed := res.Header["Content-Type"]; !typed {
		c.w.Header()["Content-Type"] = nil // or net/http guesses one
	}
	filterTrailer(res.Trailer) // what is announced, also by an answer without a body
	if res.ContentLength < 0 && res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &trailedBody{res.Body, res}
	}
	if res.StatusCode != http.StatusSwitchingProtocols && !isEventStream(res.Header) {
		return nil
	}
	giveBack, err := c.entry.upstream.takeStream()
	if err != nil {
		return err
	}
	c.giveBack()
	c.giveBack = giveBack
	c.stream = true
	c.leaveStreams = c.endWith(p.streams)
	p.inFlight.becomeStream()
	p.access.StreamBegan(c.in.Context(), c.principal)
	return nil
}

const eventStreamType = "text/event-stream"

func isEventStream(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == eventStreamType
}

// upstreamError is called when there is no answer to pass on.
func (p *Proxy) upstreamError(_ http.ResponseWriter, r *http.Request, err error) {
	c := callOf(r.Context())
	p.fail(c, p.explain(c, err))
}

// explain finds out who ended a request: us, the client, or its server.
func (p *Proxy) explain(c *call, err error) error {
	if cause := context.Cause(c.grant.ctx); cause != nil {
		return cause
	}
	above := p.life
	if c.stream {
		above = p.streams
	}
	if cause := context.Cause(above); cause != nil {
		return cause
	}
	if _, ok := errors.AsType[*http.MaxBytesError](c.body.err()); ok {
		return p.tooLarge()
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

func (p *Proxy) tooLarge() error {
	return session.Errorf(session.CodeTooLarge, "the request's body is larger than %d bytes; send less at a time", p.maxBody)
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
	if code == session.CodeUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="berth"`)
	}
	if wait := session.RetryAfter(err); wait > 0 {
		h.Set("Retry-After", seconds(wait))
	}
	if code == session.CodeTooLarge || c.wasCut() || c.body != nil && !c.body.complete() {
		h.Set("Connection", "close") // there may be a body that nobody is going to read
	}
	p.writeProblem(c.w, c.in, err)
}

// logFailure logs a failure at the level of its code, unless there are too many of one session. What is the
// client's affair is at DEBUG: it is in the access log as well.
func (p *Proxy) logFailure(c *call, code session.Code, err error) {
	level := code.Outcome().Level
	if errors.Is(err, errCredentialRefused) {
		level = slog.LevelError
	}
	if level > slog.LevelDebug && !p.mayLog(c.id) {
		level = slog.LevelDebug
	}
	p.log.Log(c.in.Context(), level, "session's server failed a request",
		"operation", "proxy", "method", c.in.Method, "route", route,
		"session_id", string(c.id), "request_id", c.requestID, "error", fmt.Sprint(err))
}

// sessionTransport sends a request over its own session's connections.
type sessionTransport struct{}

func (sessionTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := callOf(r.Context())
	c.watch(httptrace.ContextClientTrace(r.Context()))
	return c.entry.upstream.http.RoundTrip(r)
}

// bufferPool lends the buffers through which response bodies are copied.
type bufferPool struct{ free sync.Pool }

const bufferSize = 32 << 10

func (b *bufferPool) Get() []byte {
	if buf, ok := b.free.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

func (b *bufferPool) Put(buf []byte) { b.free.Put((*[bufferSize]byte)(buf)) }
