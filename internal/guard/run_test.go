package guard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth/internal/waittest"
)

func TestStopDrainsThenClosesConnections(t *testing.T) {
	t.Parallel()
	working, finish := make(chan struct{}, 2), make(chan struct{})
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			_ = http.NewResponseController(w).Flush()
			working <- struct{}{}
			<-r.Context().Done()
			return
		}
		working <- struct{}{}
		<-finish
		fmt.Fprint(w, "finished")
	}))
	w := startGuard(t, engine.socket)
	answer := make(chan string, 1)
	go func() {
		response, err := w.client(t).Post(w.url("/containers/x/stop"), "", nil)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- body(t, response)
	}()
	events, err := w.client(t).Get(w.url("/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	<-working
	<-working
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	if _, err := io.ReadAll(events.Body); err == nil {
		t.Error("the event stream ended as if it were complete, want a broken connection")
	}
	waittest.True(t, "no new connections", func() bool {
		conn, err := tls.Dial("tcp", w.address, w.tls(t))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("Run returned %v before the running request did", err)
	default:
	}
	close(finish)
	if got := <-answer; got != "finished" {
		t.Errorf("the running request got %q, want its answer", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v, want nil", err)
	}
}

func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	working := make(chan struct{}, 1)
	engine := startEngine(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		working <- struct{}{}
		<-r.Context().Done()
	}))
	w := startGuard(t, engine.socket, func(o *Options) { o.DrainTimeout = 50 * time.Millisecond })
	failed := make(chan error, 1)
	go func() {
		response, err := w.client(t).Post(w.url("/containers/x/wait"), "", nil)
		if err == nil {
			response.Body.Close()
		}
		failed <- err
	}()
	<-working
	if err := w.stop(); err != nil {
		t.Errorf("Run: %v, want nil", err)
	}
	if err := <-failed; err == nil {
		t.Error("a request that was cut off got an answer")
	}
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	t.Parallel()
	good := func() *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	}
	if _, err := New(Options{TLS: good()}); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for _, tt := range []struct {
		name   string
		change func(*Options)
	}{
		{"no TLS", func(o *Options) { o.TLS = nil }},
		{"client certificates optional", func(o *Options) { o.TLS.ClientAuth = tls.VerifyClientCertIfGiven }},
		{"system authorities", func(o *Options) { o.TLS.ClientCAs = nil }},
		{"TLS 1.2", func(o *Options) { o.TLS.MinVersion = tls.VersionTLS12 }},
		{"unix listener", func(o *Options) { o.Listen = "unix:///x" }},
		{"no scheme", func(o *Options) { o.Listen = "127.0.0.1:2376" }},
		{"a path", func(o *Options) { o.Listen = "tcp://127.0.0.1:2376/x" }},
		{"socket over TCP", func(o *Options) { o.Socket = "tcp://127.0.0.1:2375" }},
		{"negative drain", func(o *Options) { o.DrainTimeout = -1 }},
	} {
		options := Options{TLS: good()}
		tt.change(&options)
		if _, err := New(options); err == nil {
			t.Errorf("%s was accepted", tt.name)
		}
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	t.Parallel()
	w := startGuard(t, "/nonexistent/docker.sock")
	second, err := New(Options{Listen: "tcp://" + w.address, TLS: w.guard.options.TLS})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(context.Background()); err == nil || !strings.Contains(err.Error(), w.address) {
		t.Errorf("Run on a taken port: %v, want an error with the address", err)
	}
}
