package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"berth/internal/proxy/policy"
)

// flushEvery is how long bytes of a response of known length may be buffered. ReverseProxy flushes event streams and responses
// of unknown length immediately.
const flushEvery = 10 * time.Millisecond

var errBodyNotReplayable = errors.New("the start of the body is no longer kept")

func (p *Proxy) newReverse() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      sessionTransport{},
		ModifyResponse: p.answer,
		ErrorHandler:   p.upstreamError,
		FlushInterval:  flushEvery,
		BufferPool:     new(bufferPool),
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// forward sends the checked request to its server and the response back. ctx ends when the call is stopped.
func (p *Proxy) forward(ctx context.Context, c *call) error {
	c.entry.upstream.ready(p.transport, &p.upstreams)
	if !c.verdict.WebSocket {
		delete(c.in.Header, "Upgrade")
	}
	c.takeBody(p.rules.MaxBody)

	// The HTTP server's timeouts apply only to responses of Berth's own. This happens before anything can call abort.
	rc := http.NewResponseController(c.w.ResponseWriter)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})

	if err := p.join(c); err != nil {
		return err
	}
	defer c.grant.leave(c)
	defer p.endWithToken(c)()
	defer c.end()

	c.w.Header().Del("Strict-Transport-Security") // what the session's server answers is not for Berth to decide

	p.touch(c.request.Place.Session)
	c.entry.use.touched.Store(time.Now().UnixNano())
	c.forwarded = true

	var err error
	if c.slot, err = c.entry.upstream.acquireSlot(ctx, &p.connections.waiting); err != nil {
		return p.explain(c, err)
	}
	defer c.slot.release()

	if !c.verdict.Silent {
		c.header.begin(p.transport.ReadTimeout, c.body, c.cancel)
		defer c.header.stop()
	}
	r := c.in.WithContext(ctx)
	if c.body != nil {
		r.Body = c.body
	}
	defer c.closeTunnel()
	p.reverse.ServeHTTP(c.w, r)
	return nil
}

// rewrite makes the request that the server gets.
func (*Proxy) rewrite(pr *httputil.ProxyRequest) {
	c := callOf(pr.In.Context())
	out := pr.Out
	target := c.entry.route.Rewrite(&c.request, c.verdict, policy.Header(out.Header))
	// No error is expected: net/http has decoded the path already, and splitting it at slashes cannot break an escape.
	u, err := target.At(c.entry.route.Address)
	if err != nil {
		u = nil // the transport refuses the request
	}
	out.URL = u
	out.Host = pr.In.Host // OpenCode compares it with Origin
	hidePermission(out.Header)

	out.Trailer = nil
	if c.body != nil && out.Body != nil {
		out.GetBody = c.body.again
		out.Trailer = c.body.forwardTrailer(pr.In.Trailer)
	}
}

// hidePermission spells two field names, equal on the wire, so that [http.Transport] does not recognise them: it would take
// them as permission to retry a POST, which the sessions' servers do not support.
func hidePermission(h http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := h[name]; ok {
			h[strings.ToLower(name)] = values
			delete(h, name)
		}
	}
}

// upstreamError is called when there is no response to pass on.
func (p *Proxy) upstreamError(_ http.ResponseWriter, r *http.Request, err error) {
	c := callOf(r.Context())
	p.fail(c, p.explain(c, err))
}

// sessionTransport sends a request over its own session's connections.
type sessionTransport struct{}

func (sessionTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := callOf(r.Context())
	c.watch(httptrace.ContextClientTrace(r.Context()))
	return c.entry.upstream.http.RoundTrip(r)
}

// bufferPool provides the buffers for copying response bodies.
type bufferPool struct{ free sync.Pool }

const bufferSize = 32 << 10

func (b *bufferPool) Get() []byte {
	if buf, ok := b.free.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

func (b *bufferPool) Put(buf []byte) { b.free.Put((*[bufferSize]byte)(buf)) }
