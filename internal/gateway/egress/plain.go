package egress

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"berth/internal/session"
)

// plainIdle is how long a connection of plain HTTP may wait for its next request.
const plainIdle = 2 * time.Minute

// ServePlain serves connections to port 80 that sessions make because the name was resolved to the gateway, until ctx ends or the
// listener fails. It closes the listener, and returns when all connections have ended. The error is nil at the end of ctx.
//
// Each request of a connection is judged by its own Host, and its target resolved anew.
func (r *Relay) ServePlain(ctx context.Context, l net.Listener) error {
	return r.accept(ctx, l, func(ctx context.Context, conn net.Conn, caller session.Caller) {
		st, v := r.admit(ctx, caller)
		if !v.Allowed {
			r.refuse(ctx, caller, v)
			return
		}
		defer st.release()
		r.servePlain(st, conn, Target{})
	})
}

// servePlain serves the requests of one connection until it ends. With an only, they must all be for that target.
func (r *Relay) servePlain(st *stream, conn net.Conn, only Target) {
	defer st.closes(conn)()
	closed := make(chan struct{})
	hc := &headerConn{Conn: &notedConn{Conn: conn, closed: sync.OnceFunc(func() { close(closed) })}}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.servePlainRequest(w, req, st, hc, only) }),
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       plainIdle,
		MaxHeaderBytes:    maxHeader - 8<<10, // net/http adds 4 KB; headerConn holds a little more than both
		ErrorLog:          slog.NewLogLogger(r.opts.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return st.ctx },
	}
	// Serve returns when the only connection was accepted; the server goes on with it.
	_ = server.Serve(&oneConn{conn: hc})
	<-closed
}

// servePlainRequest judges and forwards one request.
func (r *Relay) servePlainRequest(w http.ResponseWriter, req *http.Request, st *stream, hc *headerConn, only Target) {
	deny := func(caller session.Caller, v Verdict) {
		r.refuse(req.Context(), caller, v)
		w.Header().Set("Connection", "close")
		http.Error(w, v.Sentence, v.status())
	}
	// The container may be another one's by now, and its list another.
	caller, _, ok := r.opts.Identify(st.caller.Address)
	if !ok || caller.Session != st.caller.Session {
		deny(st.caller, refusal(ReasonUnknownCaller, "session %s is not at %s any more", st.caller.Session, st.caller.Address))
		return
	}
	if hc.last {
		deny(caller, refusal(ReasonRequest, "a plain HTTP request was refused: it follows one after which its connection ends"))
		return
	}
	hc.last = req.ContentLength < 0 || req.Header.Get("Upgrade") != ""
	if fault := hc.fault.Load(); fault != nil {
		deny(caller, refusal(ReasonRequest, "a plain HTTP request was refused: %s", *fault))
		return
	}
	t, err := hostTarget(req.Host)
	switch {
	case req.Method == http.MethodConnect:
		deny(caller, refusal(ReasonRequest, "a CONNECT on port 80 was refused: send it to the proxy port of the gateway"))
		return
	case err != nil:
		deny(caller, refusal(ReasonName, "a plain HTTP request was refused: %v", err))
		return
	case t.Port != 80:
		deny(caller, refusal(ReasonRequest, "a plain HTTP request for %s was refused: it came to port 80", t))
		return
	case only != (Target{}) && t != only:
		deny(caller, refusal(ReasonRequest, "a plain HTTP request for %s was refused: its CONNECT was for %s", t, only))
		return
	}
	if v := r.policy.Load().Judge(caller, t); !v.Allowed {
		deny(caller, v)
		return
	}
	st.to(t)
	r.forwarder.serve(w, req, forwarded{stream: st, target: t, last: hc.last})
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	once sync.Once
}

// Accept implements [net.Listener].
func (l *oneConn) Accept() (conn net.Conn, err error) {
	err = net.ErrClosed
	l.once.Do(func() { conn, err = l.conn, nil })
	return conn, err
}

// Close implements [net.Listener].
func (l *oneConn) Close() error { return nil }

// Addr implements [net.Listener].
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// notedConn tells when it was closed.
type notedConn struct {
	net.Conn
	closed func()
}

// Close implements [net.Conn].
func (c *notedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
