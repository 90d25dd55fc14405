package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/dockertest"
	"berth/internal/storage"
)

// settings runs the stub server as a plain process, on a port of its own.
func settings(t *testing.T) config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{Overrides: map[string]string{
		"BERTH_RUNTIME": "process", "BERTH_LISTEN": "127.0.0.1:0", "BERTH_STATE_DIR": filepath.Join(t.TempDir(), "state"),
		"BERTH_DRAIN_TIMEOUT": "2", "RESOURCE_CRITICAL_THRESHOLD": "1", // tests keep machines busy
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

// berth is an App that runs.
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

// end stops Berth as a signal does; it may be called again.
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
		t.Fatal("Berth does not stop within 20 s")
	}
	if err := b.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// ask makes a request and returns its answer with the body's text.
func (b *berth) ask(t *testing.T, method, path, token string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, "http://"+b.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
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

// call is ask for an answer in JSON, if out is to have it.
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

// metrics returns what Prometheus would be told.
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

//nolint:paralleltest // it counts goroutines
func TestSessionsOutliveBerth(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	cfg := settings(t)
	first := start(t, cfg)
	var made struct {
		ID    string `json:"session_id"`
		Token string `json:"token"`
	}
	if status := first.call(t, http.MethodPost, "/sessions", first.adminToken(t), &made); status != http.StatusCreated {
		t.Fatalf("create: got %d, want 201", status)
	}
	admin := first.adminToken(t)
	first.end(t)

	second := start(t, cfg)
	var health struct{ Healthy bool }
	if status := second.call(t, http.MethodGet, "/s/"+made.ID+"/global/health", made.Token, &health); status != http.StatusOK || !health.Healthy {
		t.Errorf("the session after a restart of Berth: got %d, healthy %v", status, health.Healthy)
	}
	if again := second.adminToken(t); again != admin {
		t.Error("the admin token changed with a restart")
	}
	if status := second.call(t, http.MethodDelete, "/sessions/"+made.ID, admin, nil); status != http.StatusNoContent {
		t.Errorf("delete: got %d, want 204", status)
	}
	second.end(t)
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, ignore)
}

func TestHealthTellsTheOperatorMore(t *testing.T) {
	t.Parallel()
	b := start(t, settings(t))
	var stranger, operator map[string]any
	b.call(t, http.MethodGet, "/health", "", &stranger)
	b.call(t, http.MethodGet, "/health", b.adminToken(t), &operator)
	if len(stranger) != 1 || stranger["status"] != "healthy" {
		t.Errorf("a stranger sees %v, want the status only", stranger)
	}
	limits, _ := operator["resource_limits"].(map[string]any)
	pool, _ := operator["http_connection_pool"].(map[string]any)
	if operator["storage_backend"] != "json" || limits["memory_limit"] != "4g" || limits["max_concurrent_sessions"] != 3.0 || pool["status"] != "healthy" {
		t.Errorf("the operator sees %v, want backend, limits and pool", operator)
	}
}

func TestRequestIDIsTheCallersIfItIsWellFormed(t *testing.T) {
	t.Parallel()
	b := start(t, settings(t))
	for sent, want := range map[string]string{"req-abc.1": "req-abc.1", "bad id": "", strings.Repeat("x", 200): ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.Addr().String()+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-ID", sent)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got := resp.Header.Get("X-Request-ID")
		if want != "" && got != want || want == "" && (got == sent || !strings.HasPrefix(got, "req-")) {
			t.Errorf("sent %.20q, got %q back", sent, got)
		}
	}
}

func TestNewClosesWhatItOpenedWhenALaterPartFails(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	first := start(t, cfg)
	taken := cfg
	taken.Server.StateDir = filepath.Join(t.TempDir(), "other")
	taken.Server.Listen = first.Addr().String()
	for range 2 { // the second try shows that the first has given its locks back
		_, err := app.New(t.Context(), taken, "test", slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "BERTH_LISTEN") {
			t.Fatalf("got %v, want an error that names BERTH_LISTEN", err)
		}
	}
}

func TestStateDirectoryThatOthersMayReadIsRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(dir string) error{
		"directory":    func(dir string) error { return os.Chmod(dir, 0o755) },
		"admin token":  func(dir string) error { return os.Chmod(filepath.Join(dir, "admin-token"), 0o644) },
		"token secret": func(dir string) error { return os.Chmod(filepath.Join(dir, "token-secret"), 0o640) },
		"empty secret": func(dir string) error { return os.Truncate(filepath.Join(dir, "token-secret"), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t)
			start(t, cfg).end(t)
			if err := spoil(cfg.Server.StateDir); err != nil {
				t.Fatal(err)
			}
			if _, err := app.New(t.Context(), cfg, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), cfg.Server.StateDir) {
				t.Errorf("got %v, want a refusal that names the place", err)
			}
		})
	}
}

func TestSecretsAreTheirOwnersOnly(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	start(t, cfg).end(t)
	err := filepath.WalkDir(cfg.Server.StateDir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
