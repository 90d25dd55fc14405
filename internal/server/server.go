// Package server is the listener that clients connect to: it accepts and bounds their connections, ends those of clients
// that have vanished or do not read, gives every request its ID, and drains. It does not know what requests mean, which
// tokens are valid and which addresses are proxies.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"berth/internal/access"
)

// Limits of the HTTP server; readHeaderTimeout is also that of the TLS handshake. There is no timeout for writing and none for bodies: an agent's turn or a stream may last for
// hours.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Options are the parts and limits of a [Server]. MaxConnections 0: 16.
type Options struct {
	Listener net.Listener
	TLS      *tls.Config // nil: plain HTTP, without HTTP/2
	Handler  http.Handler
	// Client returns the client that sent a request; handlers get it from [access.ClientOf].
	Client         func(*http.Request) *access.Client
	MaxConnections int             // at once
	Draining       <-chan struct{} // closed when responses are to close their connections
	Logger         *slog.Logger
}

// Server serves requests on one listener, once. Make it with [New].
type Server struct {
	http           http.Server
	listener       net.Listener
	clients        *clientListener
	connections    connections
	client         func(*http.Request) *access.Client
	stall          time.Duration // of a stream over HTTP/2; see clientTimeout
	draining       <-chan struct{}
	log            *slog.Logger
	listenerClosed chan struct{} // closed when no more connections are accepted
}

// New accepts nothing before [Server.Serve].
func New(o Options) *Server {
	s := &Server{listener: o.Listener, client: o.Client, stall: clientTimeout, draining: o.Draining, log: o.Logger, listenerClosed: make(chan struct{})}
	s.clients = &clientListener{
		Listener: o.Listener, most: cmp.Or(o.MaxConnections, minClients), timeout: clientTimeout, probe: probeEvery,
		closeOldest: s.connections.closeOldest, open: new(atomic.Int64), headers: new(headerLimit),
	}
	s.http = http.Server{
		Handler: s.streams(limitBody(s.identified(s.closing(secured(limited(o.Handler)))))), ConnState: s.connections.note, ConnContext: s.connections.begin,
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		TLSConfig: o.TLS, Protocols: new(http.Protocols), HTTP2: &http2Limits,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(o.TLS != nil)
	return s
}

// Addr is the address that requests are served on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve serves until [Server.Shutdown]. It returns nil if ctx has ended by then.
func (s *Server) Serve(ctx context.Context) error {
	defer close(s.listenerClosed)
	err := s.serveOn(s.clients)
	if ctx.Err() != nil { // the listener was closed to drain
		err = ignoreClosed(err)
	}
	if err != nil {
		err = fmt.Errorf("serve HTTP: %w", err)
	}
	return err
}

// serveOn serves on a listener, with TLS if the server has certificates, until it is closed.
func (s *Server) serveOn(l net.Listener) error {
	if s.http.TLSConfig != nil {
		return s.http.ServeTLS(l, "", "")
	}
	return s.http.Serve(l)
}

// ServeAlso serves on another listener in the same way, until that is closed or the server is shut down.
func (s *Server) ServeAlso(l net.Listener) error {
	clients := *s.clients
	clients.Listener = l
	if err := s.serveOn(&clients); !errors.Is(err, http.ErrServerClosed) {
		return ignoreClosed(err)
	}
	return nil
}

// Shutdown stops accepting connections and closes the open ones when they have no request, until ctx ends.
// [http.Server.Shutdown] does not suffice: once started, it drops requests that arrive, also on connections that were accepted
// just before.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.Close(); err != nil {
		s.log.WarnContext(ctx, "close of the listener failed", "error", err)
	}
	<-s.listenerClosed
	s.connections.settle(ctx)
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// Close closes the listener, also of a server that never served. Calling it again is allowed.
func (s *Server) Close() error { return ignoreClosed(s.listener.Close()) }

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Listen opens a listener on the address that a setting names.
func Listen(ctx context.Context, address, setting string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s; set %s to another address if it is taken: %w", address, setting, err)
	}
	return l, nil
}

// LocalURL returns the URL of a listener for clients on its own machine, with the loopback address for a wildcard address. It
// returns "" for a listener that is not a TCP socket.
func LocalURL(addr net.Addr, encrypted bool) string {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return ""
	}
	ip := at.Addr().Unmap()
	if ip.IsUnspecified() { // an IPv6 wildcard too: the host may have no working IPv6 address
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(ip.String(), strconv.Itoa(int(at.Port())))
}
