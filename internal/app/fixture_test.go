package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/dockertest"
	"berth/internal/server"
	"berth/internal/servertls"
	"berth/internal/storage"
)

// settings runs the stub server as a plain process, on a port of its own.
func settings(t *testing.T) config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{Overrides: map[string]string{
		"BERTH_RUNTIME": "process", "BERTH_LISTEN": "127.0.0.1:0", "BERTH_STATE_DIR": filepath.Join(t.TempDir(), "state"),
		"BERTH_DRAIN_TIMEOUT": "2", "RESOURCE_CRITICAL_THRESHOLD": "1", // the tests themselves load the machine
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.Profiles["opencode"]
	p.Command = []string{dockertest.BuildStub(t), "-hostname", "127.0.0.1", "-port", "{port}"}
	p.Env = map[string]string{"STUB_STATE": "."}
	cfg.Profiles["opencode"] = p
	return cfg
}

// berth is a running App.
type berth struct {
	*app.App
	cfg  config.Config
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, cfg config.Config) *berth {
	t.Helper()
	return startWith(t, cfg, slog.New(slog.DiscardHandler))
}

func startWith(t *testing.T, cfg config.Config, log *slog.Logger, options ...app.Option) *berth {
	t.Helper()
	a, err := app.New(t.Context(), cfg, "test", log, options...)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, a, cfg)
}

// run runs an App until the test ends.
func run(t *testing.T, a *app.App, cfg config.Config) *berth {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &berth{App: a, cfg: cfg, stop: cancel, done: make(chan error, 1)}
	go func() { b.done <- a.Run(ctx) }()
	t.Cleanup(func() { b.end(t) })
	for deadline := time.Now().Add(10 * time.Second); ; {
		if b.call(t, http.MethodGet, "/readyz", "", nil) == http.StatusOK {
			return b
		}
		if time.Now().After(deadline) {
			t.Fatal("not ready within 10 s")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// end stops Berth as a signal does; calling it again is allowed.
func (b *berth) end(t *testing.T) {
	t.Helper()
	b.stop()
	select {
	case err := <-b.done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
		b.done <- nil
	case <-time.After(20 * time.Second):
		t.Fatal("Berth did not stop within 20 s")
	}
	if err := b.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// ask sends a request and returns the response and the text of its body.
func (b *berth) ask(t *testing.T, method, path, token string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, server.LocalURL(b.Addr(), b.cfg.Server.TLS())+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := b.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// client returns the client of a user on the same machine. The default one keeps its connections.
func (b *berth) client(t *testing.T) *http.Client {
	t.Helper()
	if !b.cfg.Server.TLS() {
		return http.DefaultClient
	}
	trusted, err := servertls.TrustOnly(storage.CertificatesOf(b.cfg.Server.StateDir))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: trusted, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// call is ask, with the response decoded from JSON into out unless that is nil.
func (b *berth) call(t *testing.T, method, path, token string, out any) int {
	t.Helper()
	resp, text := b.ask(t, method, path, token)
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return resp.StatusCode
}

// exit makes a session's server exit with code 3. The server may be gone before the client has read its response.
func (b *berth) exit(t *testing.T, id, token string) {
	t.Helper()
	url := server.LocalURL(b.Addr(), b.cfg.Server.TLS()) + "/s/" + id + "/exit?code=3"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if resp, err := b.client(t).Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

// metrics returns the text that Prometheus would scrape.
func (b *berth) metrics(t *testing.T) string {
	t.Helper()
	_, text := b.ask(t, http.MethodGet, "/metrics", b.adminToken(t))
	return text
}

func (b *berth) adminToken(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(storage.AdminTokenFile(b.cfg.Server.StateDir))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
