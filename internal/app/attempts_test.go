package app_test

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/config"
	"berth/internal/session"
	"berth/internal/storage"
	"berth/internal/storage/jsonfile"
)

type made struct {
	ID    string `json:"session_id"`
	Token string `json:"token"`
}

// API and proxy count wrong tokens together, and neither refuses a client with a valid one.
func TestWrongTokensAreThrottledAcrossAPIAndProxy(t *testing.T) {
	t.Parallel()
	b := start(t, settings(t))
	admin := b.adminToken(t)
	var s made
	if status := b.call(t, http.MethodPost, "/sessions", admin, &s); status != http.StatusCreated {
		t.Fatalf("create: got %d", status)
	}
	own, proxied := "/sessions/"+s.ID+"/auth", "/s/"+s.ID+"/global/health"
	refused := map[int]int{}
	for i := range 2 * access.Burst {
		refused[b.call(t, http.MethodGet, []string{own, proxied, "/sessions"}[i%3], "wrong", nil)]++
	}
	if refused[http.StatusUnauthorized] < access.Burst || refused[http.StatusTooManyRequests] == 0 || len(refused) != 2 {
		t.Errorf("got %v, want %d times 401 and then 429", refused, access.Burst)
	}
	for path, token := range map[string]string{own: s.Token, proxied: s.Token, "/sessions": admin} {
		if status := b.call(t, http.MethodGet, path, token, nil); status != http.StatusOK {
			t.Errorf("%s with the right token from a limited address: got %d, want 200", path, status)
		}
	}
	if status := b.call(t, http.MethodGet, proxied, "", nil); status != http.StatusTooManyRequests {
		t.Errorf("no token, from a limited address: got %d, want 429", status)
	}
	metrics := b.metrics(t)
	for _, want := range []string{
		`berth_auth_failures_total{reason="limited",surface="api"}`, `berth_auth_failures_total{reason="limited",surface="proxy"}`,
		`berth_auth_failures_total{reason="wrong",surface="api"}`, `berth_auth_failures_total{reason="missing",surface="proxy"} 0`,
		`berth_auth_failures_total{reason="expired",surface="proxy"} 0`, `berth_tokens_swept_total 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s:\n%s", want, metrics)
		}
	}
}

// Each rotation writes a line to the audit trail, which is itself rotated: one session's user may write only a few.
func TestRotationsWithASessionsTokenAreLimited(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Log.FileEnabled, cfg.Log.AuditFile = true, filepath.Join(t.TempDir(), "audit.log")
	b := start(t, cfg)
	admin := b.adminToken(t)
	var s, other made
	b.call(t, http.MethodPost, "/sessions", admin, &s)
	b.call(t, http.MethodPost, "/sessions", admin, &other)
	rotate := "/sessions/" + s.ID + "/auth/rotate"
	token, done := s.Token, 0
	for range 30 {
		next := made{}
		switch status := b.call(t, http.MethodPost, rotate, token, &next); status {
		case http.StatusOK:
			token = next.Token
			done++
		case http.StatusTooManyRequests:
		default:
			t.Fatalf("rotate: got %d", status)
		}
	}
	if done < 5 || done > 7 { // one more a minute, if the machine is slow
		t.Errorf("%d of 30 rotations with the session's token were done, want 5", done)
	}
	res, body := b.ask(t, http.MethodPost, rotate, token)
	wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || wait < 1 || wait > 60 || !strings.Contains(body, `"too_many_attempts"`) {
		t.Errorf("got %s, Retry-After %q, %s; want too_many_attempts and Retry-After", res.Status, res.Header.Get("Retry-After"), body)
	}
	if status := b.call(t, http.MethodGet, "/sessions/"+s.ID, token, nil); status != http.StatusOK {
		t.Errorf("the token that was not replaced: got %d, want 200", status)
	}
	if status := b.call(t, http.MethodPost, "/sessions/"+other.ID+"/auth/rotate", other.Token, nil); status != http.StatusOK {
		t.Errorf("another session's: got %d, want 200", status)
	}
	for range 20 {
		if status := b.call(t, http.MethodPost, rotate, admin, nil); status != http.StatusOK {
			t.Fatalf("the operator's: got %d, want 200", status)
		}
	}
	b.end(t)
	written := 0
	for _, r := range records(t, cfg.Log.AuditFile) {
		if r.Operation == "rotate_token" && r.Actor == "user" {
			written++
		}
	}
	if written != done+1 {
		t.Errorf("the trail has %d rotations of users, want %d", written, done+1)
	}
}

// The grace period of a replaced token is stored: it continues after a restart, and is part of an export.
func TestGracePeriodSurvivesRestartAndExport(t *testing.T) {
	t.Parallel()
	cfg, moved := settings(t), settings(t)
	cfg.Token.Secret = "the key of the digests of this test, long enough"
	moved.Token.Secret = cfg.Token.Secret
	first := start(t, cfg)
	admin := first.adminToken(t)
	var s, next made
	if status := first.call(t, http.MethodPost, "/sessions", admin, &s); status != http.StatusCreated {
		t.Fatalf("create: got %d", status)
	}
	if status := first.call(t, http.MethodPost, "/sessions/"+s.ID+"/auth/rotate?grace=10m", s.Token, &next); status != http.StatusOK {
		t.Fatalf("rotate: got %d", status)
	}
	var health struct {
		Authenticated *int `json:"authenticated_sessions"`
	}
	if first.call(t, http.MethodGet, "/health", admin, &health); health.Authenticated == nil || *health.Authenticated != 1 {
		t.Errorf("authenticated sessions: got %v, want 1", health.Authenticated)
	}
	first.end(t)

	data, count, err := storage.Export(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil || count != 1 || !strings.Contains(string(data), `"previous_auth_token":"`) {
		t.Fatalf("export: got %d sessions, %v: %s", count, err, data)
	}
	if report, err := storage.Import(t.Context(), moved, data, false, slog.New(slog.DiscardHandler)); err != nil || report.Added != 1 {
		t.Fatalf("import: got %+v, %v", report, err)
	}
	for name, cfg := range map[string]config.Config{"restarted": cfg, "moved": moved} {
		b := start(t, cfg)
		for which, token := range map[string]string{"old": s.Token, "new": next.Token} {
			if status := b.call(t, http.MethodGet, "/sessions/"+s.ID+"/auth", token, nil); status != http.StatusOK {
				t.Errorf("%s, the %s token: got %d, want 200", name, which, status)
			}
		}
		if name == "restarted" {
			if status := b.call(t, http.MethodGet, "/s/"+s.ID+"/global/health", s.Token, nil); status != http.StatusOK {
				t.Errorf("the old token at the proxy after a restart: got %d, want 200", status)
			}
			if status := b.call(t, http.MethodPost, "/sessions/"+s.ID+"/auth/rotate", s.Token, nil); status != http.StatusUnauthorized {
				t.Errorf("the old token rotates: got %d, want 401", status)
			}
		}
		b.call(t, http.MethodDelete, "/sessions/"+s.ID, b.adminToken(t), nil)
		b.end(t)
	}
}

// Tokens that expired while Berth was not running are swept after its start.
func TestTokensExpiredBeforeStartAreSwept(t *testing.T) {
	t.Parallel()
	cfg, at := settings(t), time.Now().UTC().Add(-48*time.Hour)
	data, err := jsonfile.Write([]session.Session{{
		ID: "ses-late", Status: session.Stopped, Revision: 1, CreatedAt: at, LastAccessed: at, ContainerName: "berth-ses-late",
		Token: session.Token{
			Digest: strings.Repeat("0f", 32), ExpiresAt: at.Add(time.Hour),
			PreviousDigest: strings.Repeat("f0", 32), PreviousExpiresAt: at.Add(time.Minute),
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storage.Import(t.Context(), cfg, data, false, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	b := start(t, cfg)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(b.metrics(t), "berth_tokens_swept_total 2"); {
		if time.Now().After(deadline) {
			t.Fatal("not swept within 10 s")
		}
		<-time.After(10 * time.Millisecond)
	}
	b.end(t)
	data, _, err = storage.Export(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil || !strings.Contains(string(data), `"auth_token":""`) || !strings.Contains(string(data), `"previous_auth_token":""`) {
		t.Errorf("got %s, %v; want no digest", data, err)
	}
}
