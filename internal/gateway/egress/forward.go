package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// responseTimeout is how long a plain HTTP server may take for the header of its response.
const responseTimeout = 10 * time.Minute

// forwarder forwards plain HTTP requests that were judged. Each has a connection of its own to its target, so that none is judged by the
// target of another.
type forwarder struct {
	relay *Relay
	proxy *httputil.ReverseProxy
}

// forwarded is what a request's context says about it.
type forwarded struct {
	stream *stream
	target Target
	last   bool // no other request may follow on the client's connection
}

type forwardedKey struct{}

func (r *Relay) newForwarder() *forwarder {
	f := &forwarder{relay: r}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		ModifyResponse: closeAfterUnbounded,
		ErrorHandler:   f.failed,
		FlushInterval:  -1, // event streams
		ErrorLog:       slog.NewLogLogger(r.opts.Log.Handler(), slog.LevelDebug),
		Transport: &http.Transport{
			DialContext:            f.dial,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			ResponseHeaderTimeout:  responseTimeout,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: maxHeader,
		},
	}
	return f
}

// Forward answers a request in absolute form (GET http://host/path) of a session whose address and token were checked. Its hop-by-hop
// headers go no further, and with them the session's credential in Proxy-Authorization. https has to be asked for by CONNECT.
func (r *Relay) Forward(w http.ResponseWriter, req *http.Request, caller session.Caller) {
	st, t, ok := r.admitRequest(w, req, caller, func() (Target, error) { return targetOf(req.URL) })
	if !ok {
		return
	}
	defer st.release()
	r.forwarder.serve(w, req, forwarded{stream: st, target: t})
}

// targetOf is the target of an absolute URL.
func targetOf(u *url.URL) (Target, error) {
	if !strings.EqualFold(u.Scheme, "http") || u.Opaque != "" || u.User != nil {
		return Target{}, fmt.Errorf("a proxy request is CONNECT host:port, or a URL like http://host/path without a user, not %s", quote(u.Redacted()))
	}
	return hostTarget(u.Host)
}

// hostTarget reads host or host:port of plain HTTP.
func hostTarget(host string) (Target, error) {
	if strings.HasSuffix(host, "]") || !strings.Contains(host, ":") {
		host += ":80"
	}
	return ParseTarget(host)
}

// serve forwards a request that was judged.
func (f *forwarder) serve(w http.ResponseWriter, req *http.Request, what forwarded) {
	ctx, cancel := context.WithCancelCause(context.WithValue(req.Context(), forwardedKey{}, what))
	defer cancel(nil)
	defer context.AfterFunc(what.stream.ctx, func() { cancel(context.Cause(what.stream.ctx)) })()
	req = req.WithContext(ctx)
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		req.Header.Del("Upgrade") // to another protocol than HTTP, of which the requests would not be judged
	}
	f.proxy.ServeHTTP(w, req)
}

func rewrite(p *httputil.ProxyRequest) {
	t := p.In.Context().Value(forwardedKey{}).(forwarded).target
	p.Out.URL.Scheme, p.Out.URL.Host = "http", t.String()
	p.Out.URL.RawQuery = p.In.URL.RawQuery // as it was sent
	p.Out.Host = strings.TrimSuffix(t.String(), ":80")
	p.Out.Header.Del("Proxy-Authorization")
}

// closeAfterUnbounded ends the client's connection after a response where a further request could not be looked over.
func closeAfterUnbounded(res *http.Response) error {
	what := res.Request.Context().Value(forwardedKey{}).(forwarded)
	if what.last && res.StatusCode != http.StatusSwitchingProtocols {
		res.Header.Set("Connection", "close")
	}
	return nil
}

func (f *forwarder) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	what := ctx.Value(forwardedKey{}).(forwarded)
	conn, err := f.relay.dial(what.stream, what.target)
	if err != nil {
		return nil, err
	}
	stop := what.stream.closes(conn)
	return &countedConn{Conn: conn, relay: f.relay, closed: func() { stop() }}, nil
}

func (f *forwarder) failed(w http.ResponseWriter, req *http.Request, err error) {
	what := req.Context().Value(forwardedKey{}).(forwarded)
	if errors.Is(err, context.Canceled) && req.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client or the session has gone: nothing that was said so far is a response
	}
	w.Header().Set("Connection", "close")
	f.relay.dialFailed(w, what.stream, what.target, err)
}

// countedConn is the connection of a forwarded request: it counts bytes, and ends when it is idle.
type countedConn struct {
	net.Conn
	relay  *Relay
	closed func()
	once   atomic.Bool
}

// Read implements [net.Conn].
func (c *countedConn) Read(p []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(c.relay.limits.Idle)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.relay.stats.received.Add(uint64(n))
	return n, err
}

// Write implements [net.Conn].
func (c *countedConn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.relay.limits.Idle)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	c.relay.stats.sent.Add(uint64(n))
	return n, err
}

// CloseWrite passes the end of a WebSocket's client on.
func (c *countedConn) CloseWrite() error {
	closeWrite(c.Conn)
	return nil
}

// Close implements [net.Conn].
func (c *countedConn) Close() error {
	if c.once.CompareAndSwap(false, true) {
		c.closed()
	}
	return c.Conn.Close()
}
