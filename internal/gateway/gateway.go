// Package gateway is the way out of sessions: a listener on their networks that serves their containers models, git hosts, and the
// hosts of a list. It knows who asks by two things that must agree, the container's address and the session's gateway token, and
// refuses and records everything else.
//
// It finds out who asks, and passes the request on to what serves it (packages model, git and egress). It does not know what they do,
// and nothing of the engine.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"berth/internal/session"
)

// Service serves one kind of request. The caller has shown its token and has the address of its container; the request's credential is
// removed. Its context ends when the session may not use the gateway any more.
type Service interface {
	Serve(w http.ResponseWriter, r *http.Request, caller session.Caller)
}

// ServiceFunc adapts a function to a [Service].
type ServiceFunc func(w http.ResponseWriter, r *http.Request, caller session.Caller)

// Serve calls f.
func (f ServiceFunc) Serve(w http.ResponseWriter, r *http.Request, caller session.Caller) {
	f(w, r, caller)
}

// Refusal is a request that was not served.
type Refusal struct {
	Session session.ID // empty: it is not known who asked
	Address string     // from where
	Rule    string     // a word: "token", "address", "list", …
	What    string     // what was asked for, and why that was refused; one line
}

// Options are the parts of a [Gateway]. A service that is nil does not exist.
type Options struct {
	Callers *Callers
	Models  Service // requests below /models/
	Git     Service // requests below /git/
	Connect Service // CONNECT, and requests for other hosts
	Refused func(context.Context, Refusal)
	Logger  *slog.Logger
}

// Gateway serves HTTP on the sessions' networks. Make it with [New].
type Gateway struct {
	opts Options
	http http.Server
}

// Limits of the listeners. There is no time-out for bodies and responses: an answer of a model may last for an hour.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// New returns a gateway that serves nothing before [Gateway.Serve].
func New(o Options) *Gateway {
	g := &Gateway{opts: o}
	g.http = http.Server{
		Handler: http.HandlerFunc(g.handle), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return g
}

// Serve serves on a listener until ctx ends, and returns nil then.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	err := g.http.Serve(&boundedListener{Listener: l, open: map[netip.Addr]int{}})
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown lets requests finish until ctx ends, and ends the rest.
func (g *Gateway) Shutdown(ctx context.Context) error {
	if err := g.http.Shutdown(ctx); err != nil {
		return g.http.Close()
	}
	return nil
}
