// Package guard is a proxy in front of the engine: it listens with mutual TLS, demands a client certificate of our authority,
// and passes every request on to the engine's local socket, taken-over connections included.
//
// It is the only package that opens that socket, and it runs as a process of its own. It knows HTTP, TLS and which of the
// engine's routes take a connection over; it knows nothing of sessions, and it makes no certificates: its TLS configuration
// is handed to it. What a client may ask for is decided in one place, decide.
package guard

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"berth/internal/engineaddr"
)

// Defaults of Options.
const (
	DefaultListen       = "tcp://127.0.0.1:2376"
	DefaultSocket       = "/var/run/docker.sock"
	DefaultIdleConns    = 64
	DefaultDrainTimeout = 10 * time.Second
	DefaultLinger       = 5 * time.Second

	// headerTimeout bounds the TLS handshake and the head of a request; bodies and answers may take any time.
	headerTimeout = 10 * time.Second
	// idleTimeout ends a client's connection that carries nothing.
	idleTimeout = 5 * time.Minute
	dialTimeout = 5 * time.Second
)

// Options say where to listen and what to guard. Only TLS has no default.
type Options struct {
	Listen string // tcp://host:port; port 0 takes a free one
	Socket string // path of the engine's unix socket, with or without unix://
	// TLS must demand verified client certificates and TLS 1.3, as pki.LoadServerTLS makes it.
	TLS *tls.Config
	// Admits checks the certificates that a client has presented, its own first: nil, or why they are not accepted. It is asked
	// ahead of every request and several times a second for every open connection, which is closed when it returns an error. nil admits
	// every client until its certificate expires.
	Admits func(presented []*x509.Certificate) error
	Logger *slog.Logger // nil logs nothing
	// IdleConns is how many idle connections to the engine are kept for reuse: as many as requests run at once.
	IdleConns int
	// MaxPending is how many connections there may be without a first request; beyond, the oldest is closed. 0: a quarter of
	// the descriptors of this process.
	MaxPending int
	// DrainTimeout bounds how long requests and taken-over connections may still run once Run is stopping.
	DrainTimeout time.Duration
	// Linger bounds how long a client may keep a taken-over connection open after the engine has ended it.
	Linger time.Duration
	Now    func() time.Time // nil means time.Now
}

// Guard passes requests to the engine. Run it once.
type Guard struct {
	address string
	options Options

	ready chan struct{}
	mu    sync.Mutex
	bound net.Addr
}

// New checks the options; it opens nothing.
func New(options Options) (*Guard, error) {
	options.Listen = cmp.Or(options.Listen, DefaultListen)
	options.Socket = engineaddr.SocketPath(cmp.Or(options.Socket, DefaultSocket))
	options.IdleConns = cmp.Or(options.IdleConns, DefaultIdleConns)
	options.MaxPending = cmp.Or(options.MaxPending, defaultPending())
	options.DrainTimeout = cmp.Or(options.DrainTimeout, DefaultDrainTimeout)
	options.Linger = cmp.Or(options.Linger, DefaultLinger)
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	address, listenErr := listenAddress(options.Listen)
	var socketErr, boundsErr error
	if !strings.HasPrefix(options.Socket, "/") && !strings.HasPrefix(options.Socket, "./") {
		socketErr = fmt.Errorf("socket %q: want the path of the engine's unix socket, such as %s", options.Socket, DefaultSocket)
	}
	if options.IdleConns < 0 || options.MaxPending < 0 || options.DrainTimeout < 0 || options.Linger < 0 {
		boundsErr = errors.New("idle connections, pending connections, drain time and linger time may not be negative")
	}
	if err := errors.Join(listenErr, socketErr, boundsErr, checkTLS(options.TLS)); err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return &Guard{address: address, options: options, ready: make(chan struct{})}, nil
}

// listenAddress turns tcp://host[:port] into host:port.
func listenAddress(listen string) (string, error) {
	at, err := engineaddr.ParseListen(listen)
	if err != nil {
		return "", fmt.Errorf("listen address %q: want tcp://host:port, such as %s", listen, DefaultListen)
	}
	return at.HostPort(engineaddr.PortTLS), nil
}

// checkTLS refuses a configuration that would admit unauthenticated clients: access to the engine is root on this host.
func checkTLS(config *tls.Config) error {
	switch {
	case config == nil:
		return errors.New("a TLS configuration is needed")
	case config.ClientAuth != tls.RequireAndVerifyClientCert || config.ClientCAs == nil:
		return errors.New("the TLS configuration must require client certificates and verify them against an authority of its own")
	case config.MinVersion < tls.VersionTLS13:
		return errors.New("the TLS configuration must demand TLS 1.3")
	}
	return nil
}

// Ready is closed as soon as Run listens.
func (g *Guard) Ready() <-chan struct{} { return g.ready }

// Addr is where Run listens; nil before Ready.
func (g *Guard) Addr() net.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bound
}

// Run listens and serves until ctx ends, then accepts nothing new, ends streams without an end of their own, gives the rest
// DrainTimeout, and closes the remaining connections. All that it started has ended when it returns; a requested stop returns nil.
func (g *Guard) Run(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", g.address)
	if err != nil {
		return fmt.Errorf("guard: listen on %s: %w", g.address, err)
	}
	g.mu.Lock()
	g.bound = listener.Addr()
	g.mu.Unlock()

	logger := g.options.Logger
	base, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	h := newHandler(ctx, g.options)
	defer h.transport.CloseIdleConnections()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       h.connections.accepted,
		ConnState:         h.connections.changed,
		ErrorLog:          slog.NewLogLogger(newServerLog(logger.Handler(), h.probes), slog.LevelWarn),
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)

	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	sweepCtx, endSweep := context.WithCancel(base)
	defer endSweep()
	sweeping.Go(func() { h.sweep(sweepCtx) })

	served := make(chan error, 1)
	go func() { served <- server.Serve(tls.NewListener(listener, h.probes.watch(g.options.TLS))) }()
	close(g.ready)
	logger.InfoContext(ctx, "guard listens", "address", listener.Addr().String(), "socket", g.options.Socket)
	if everywhere(listener.Addr()) {
		logger.WarnContext(ctx, "guard listens on every address of this host, so containers reach it too; name one address instead",
			"address", listener.Addr().String())
	}

	select {
	case err := <-served:
		server.Close()
		cut(errStopped)
		h.calls.Close()
		h.calls.Empty(context.WithoutCancel(ctx))
		return fmt.Errorf("guard: serve: %w", err)
	case <-ctx.Done():
	}
	drain, done := context.WithTimeout(base, g.options.DrainTimeout)
	defer done()
	// Shutdown does not wait for taken-over connections; the calls do.
	shutdownErr := server.Shutdown(drain)
	h.calls.Close()
	if h.calls.Empty(drain) > 0 {
		logger.InfoContext(ctx, "drain time-out reached, closing the remaining connections", "after", g.options.DrainTimeout.String())
	}
	// The connections first: otherwise only some of the interrupted calls would get an answer that says so.
	server.Close()
	cut(errStopped)
	h.calls.Empty(context.WithoutCancel(ctx))
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("guard: serve: %w", err)
	}
	if shutdownErr != nil && !errors.Is(shutdownErr, context.DeadlineExceeded) {
		return fmt.Errorf("guard: stop: %w", shutdownErr)
	}
	return nil
}

var errStopped = errors.New("guard is stopping")

func everywhere(addr net.Addr) bool {
	bound, err := netip.ParseAddrPort(addr.String())
	return err == nil && bound.Addr().IsUnspecified()
}
