package app_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"berth/internal/app"
)

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

func TestHealthDetailsRequireOperator(t *testing.T) {
	t.Parallel()
	b := start(t, settings(t))
	var unauthenticated, operator map[string]any
	b.call(t, http.MethodGet, "/health", "", &unauthenticated)
	b.call(t, http.MethodGet, "/health", b.adminToken(t), &operator)
	if len(unauthenticated) != 1 || unauthenticated["status"] != "healthy" {
		t.Errorf("an unauthenticated client sees %v, want the status only", unauthenticated)
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
	for range 2 { // the second try shows that the first has released its locks
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
				t.Errorf("got %v, want a refusal that names the directory", err)
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
