package guard

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"berth/internal/inflight"
)

// engineHost is the Host header of requests to the engine, which accepts any valid one.
const engineHost = "docker"

// newHandler makes the handler of a Run that begins to drain when ctx ends.
func newHandler(ctx context.Context, options Options) *handler {
	h := &handler{options: options, calls: inflight.New(), connections: newConnections(options.MaxPending), probes: newProbes(), logger: options.Logger}
	h.onStop = func(f func()) func() bool { return context.AfterFunc(ctx, f) }
	h.transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dial(ctx) },
		DisableCompression:  true,
		MaxIdleConns:        options.IdleConns,
		MaxIdleConnsPerHost: options.IdleConns,
		IdleConnTimeout:     90 * time.Second,
	}
	single := h.transport.Clone()
	single.DisableKeepAlives = true
	h.proxy = &httputil.ReverseProxy{
		Transport: engineTransport{pooled: h.transport, single: single},
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", engineHost, engineHost
			// The engine gets the query as the client sent it, also where Go would clean it.
			p.Out.URL.RawQuery = p.In.URL.RawQuery
		},
		FlushInterval: -1,
		ErrorHandler:  h.engineFailed,
		ErrorLog:      slog.NewLogLogger(options.Logger.Handler(), slog.LevelDebug),
	}
	return h
}

// engineTransport sends pings over new connections: an engine that is stopping still answers on open ones, and accepts no new
// ones.
type engineTransport struct{ pooled, single *http.Transport }

// RoundTrip implements [http.RoundTripper].
func (t engineTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if routeOf(req.URL.Path) == "/_ping" {
		return t.single.RoundTrip(req)
	}
	return t.pooled.RoundTrip(req)
}

// dial opens a connection to the engine.
func (h *handler) dial(ctx context.Context) (halfCloser, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", h.options.Socket)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
