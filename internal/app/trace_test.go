package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/telemetry"
)

// lines returns the lines that were logged so far.
func (j *journal) lines(t *testing.T) []map[string]any {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []map[string]any
	for line := range bytes.Lines([]byte(j.text.String())) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, fields)
	}
	return all
}

// startLogged runs an App and keeps its log.
func startLogged(t *testing.T, cfg config.Config) (*berth, *journal) {
	t.Helper()
	kept := new(journal)
	log, closer, err := telemetry.NewLogger(telemetry.Options{Level: slog.LevelDebug, Format: telemetry.FormatJSON, Console: kept})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closer.Close() })
	a, err := app.New(t.Context(), cfg, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, a, cfg), kept
}

// byRequest groups lines by the request that they belong to, as "logger operation".
func byRequest(lines []map[string]any) map[string][]string {
	all := map[string][]string{}
	for _, l := range lines {
		id, _ := l["request_id"].(string)
		logger, _ := l["logger"].(string)
		operation, _ := l["operation"].(string)
		all[id] = append(all[id], logger+" "+operation)
	}
	return all
}

func TestRequestIDReachesAllLogs(t *testing.T) {
	t.Parallel()
	b, kept := startLogged(t, settings(t))
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "http://"+b.Addr().String()+"/sessions", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.adminToken(t))
	req.Header.Set("X-Request-ID", "req-of-alice")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	got := byRequest(kept.lines(t))["req-of-alice"]
	for _, want := range []string{"berth.process create", "berth.process start", "berth.process inspect", "berth.session create", "berth.httpapi request"} {
		if !slices.Contains(got, want) {
			t.Errorf("no line of %q has the request's ID: got %q", want, got)
		}
	}
}

// When a server exits, Berth's reaction is one piece of background work with a request ID of its own.
func TestBackgroundWorkHasRequestID(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Health.RestartDelay = config.Seconds(10 * time.Millisecond)
	b, kept := startLogged(t, cfg)
	var made struct {
		ID    string `json:"session_id"`
		Token string `json:"token"`
	}
	b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &made)
	b.exit(t, made.ID, made.Token)
	deadline := time.After(20 * time.Second)
	for {
		pieces := byRequest(kept.lines(t))
		for id, lines := range pieces {
			if !slices.Contains(lines, "berth.session restart") {
				continue
			}
			if !strings.HasPrefix(id, "req-") || !slices.Contains(lines, "berth.process start") || slices.Contains(lines, "berth.httpapi request") {
				t.Errorf("the restart is %q with the ID %q, want one of its own that its engine calls have too", lines, id)
			}
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("not restarted within 20 s: %q", pieces)
		}
	}
}
