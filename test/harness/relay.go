package harness

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"berth/internal/pki"
)

// Relay is between a berth and the engine in place of the guard, and forwards everything. It counts the calls that change
// something for a session, may delay each of them, and can kill a process at one of them.
type Relay struct {
	Address string // DOCKER_HOST of its clients

	engine *http.Transport

	mu    sync.Mutex
	hold  time.Duration
	now   int      // changing calls in flight
	most  int      // of them at once, so far
	calls []string // changing calls in the order of their arrival
	fault *armedFault
}

// Fault is a changing call of the engine at which a process is killed.
type Fault struct {
	Call        string // as [Relay.Calls] names it
	Nth         int    // of the calls of that name, from 1
	AfterAnswer bool   // the engine has done it and its response is lost; otherwise the engine does not receive it
}

// armedFault is a fault that has not been triggered yet.
type armedFault struct {
	Fault
	victim *Process
	fired  chan struct{}
}

// NewRelay puts a relay before the engine, with the environment's server certificate, and points its berth to it. It
// ends with the test.
func (w *Env) NewRelay() *Relay {
	w.t.Helper()
	config, _, err := pki.LoadServerTLS(pki.ServerPaths(w.certs), pki.ServerOptions{})
	Must(w.t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	Must(w.t, err)
	socket := w.socket
	r := &Relay{
		Address: "tcp://" + l.Addr().String(),
		engine: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
			DisableCompression: true,
		},
	}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          quiet,
		Handler: &httputil.ReverseProxy{
			Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
			Transport:     r,
			FlushInterval: -1, // events are passed on as they come
			ErrorLog:      quiet,
			ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // close the connection
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	w.t.Cleanup(func() {
		_ = server.Close()
		r.engine.CloseIdleConnections()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			w.t.Errorf("the relay has ended: %v", err)
		}
	})
	w.Vars["DOCKER_HOST"] = r.Address
	return r
}

// Hold makes every changing call wait for this long before the engine gets it.
func (r *Relay) Hold(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = d
}

// Most is how many changing calls have been in flight at once.
func (r *Relay) Most() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

// Calls lists the changing calls so far, like "POST /containers/*/start", with a star for an object's name.
func (r *Relay) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Kill arms a fault: at that call, counted from now on, SIGKILL ends p. The channel is closed when p has ended, and the
// relay forwards everything again.
func (r *Relay) Kill(p *Process, f Fault) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = &armedFault{Fault: f, victim: p, fired: make(chan struct{})}
	return r.fault.fired
}

var errVictimKilled = errors.New("the process that sent the request was killed")

// RoundTrip forwards a request to the engine.
func (r *Relay) RoundTrip(req *http.Request) (*http.Response, error) {
	call := changing(req)
	if call == "" {
		return r.engine.RoundTrip(req)
	}
	fault, hold := r.enter(call)
	defer r.done()
	if hold > 0 {
		select {
		case <-time.After(hold):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	if fault == nil {
		return r.engine.RoundTrip(req)
	}
	defer close(fault.fired)
	if !fault.AfterAnswer {
		fault.victim.Signal(syscall.SIGKILL)
		return nil, errVictimKilled
	}
	answer, err := r.engine.RoundTrip(req)
	fault.victim.Signal(syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close()
	return nil, errVictimKilled
}

// enter counts a changing call, and returns the fault that it triggers, if any.
func (r *Relay) enter(call string) (*armedFault, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
	r.now++
	r.most = max(r.most, r.now)
	if f := r.fault; f != nil && f.Call == call {
		if f.Nth--; f.Nth == 0 {
			r.fault = nil
			return f, r.hold
		}
	}
	return nil, r.hold
}

func (r *Relay) done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
}

// changing names a call that changes something for a session; "" for any other. The marks by which Berths on one engine
// announce themselves are not counted: they wait for no operation, and their number depends on the other Berths there.
func changing(req *http.Request) string {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return ""
	}
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	if len(parts) > 1 && strings.HasPrefix(parts[0], "v1.") {
		parts = parts[1:]
	}
	if parts[0] == "_berth" { // for the guard, which the relay replaces
		return ""
	}
	if len(parts) > 1 && parts[0] == "volumes" { // a session's volumes are made with its container
		if parts[1] == "create" || strings.HasPrefix(parts[1], "berth-owner-") || strings.HasPrefix(parts[1], "berth-claim-") {
			return ""
		}
	}
	if len(parts) > 1 && parts[1] != "create" {
		parts[1] = "*"
	}
	return req.Method + " /" + strings.Join(parts, "/")
}
