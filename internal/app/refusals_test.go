package app_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
)

// Requests with wrong tokens or without one must not rotate the records of operations out of the audit trail.
func TestRejectionsDoNotRotateAuditRecords(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	dir := t.TempDir()
	cfg.Log.FileEnabled, cfg.Log.AuditFile, cfg.Log.MaxSizeMB, cfg.Log.BackupCount = true, filepath.Join(dir, "audit.log"), 1, 1
	b, kept := startLogged(t, cfg)
	var s made
	if status := b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &s); status != http.StatusCreated {
		t.Fatalf("create: got %d", status)
	}
	const flood = 3000
	refusals := map[int]int{}
	for i := range flood {
		token := []string{"", "wrong"}[i%2]
		refusals[b.call(t, http.MethodGet, []string{"/sessions", "/metrics", "/s/" + s.ID + "/", "/sessions/" + s.ID}[i/2%4], token, nil)]++
	}
	if refusals[http.StatusUnauthorized] < access.Burst || refusals[http.StatusTooManyRequests] < flood*9/10 || len(refusals) != 2 {
		t.Errorf("got %v, want some 401 and then 429", refusals)
	}
	b.end(t)

	for _, r := range records(t, cfg.Log.AuditFile) {
		if r.Outcome == "refused" {
			t.Fatalf("a refusal is among the records of changes: %+v", r)
		}
	}
	text, err := os.ReadFile(cfg.Log.RefusalsFile())
	if err != nil {
		t.Fatal(err)
	}
	var single, omitted int
	for line := range bytes.Lines(text) {
		var r struct {
			Actor, Outcome, Remote string
			Omitted                int
		}
		if err := json.Unmarshal(line, &r); err != nil || r.Actor != "anonymous" || r.Outcome != "refused" || !strings.HasPrefix(r.Remote, "127.0.0.1") {
			t.Fatalf("%v: not a refusal of an anonymous client with its address: %s", err, line)
		}
		if r.Omitted == 0 {
			single++
		}
		omitted += r.Omitted
	}
	if single+omitted != flood || single != refusals[http.StatusUnauthorized] {
		t.Errorf("%d records of their own and %d omitted, want %d and together %d", single, omitted, refusals[http.StatusUnauthorized], flood)
	}
	var lines int
	for _, l := range kept.lines(t) {
		if l["message"] == "request" && l["level"] != "DEBUG" {
			lines++
		}
	}
	if lines > flood/5 {
		t.Errorf("%d lines of the log for %d requests without a token", lines, flood)
	}
}

// One user's requests have a bounded share of the trail and of the log.
func TestOneSessionsRequestsDoNotFillTrailAndLog(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Log.FileEnabled, cfg.Log.AuditFile = true, filepath.Join(t.TempDir(), "audit.log")
	b, kept := startLogged(t, cfg)
	var s made
	if status := b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &s); status != http.StatusCreated {
		t.Fatalf("create: got %d", status)
	}
	const flood = 500
	started := time.Now()
	for range flood {
		b.call(t, http.MethodGet, "/sessions/"+s.ID, s.Token, nil)
		b.call(t, http.MethodGet, "/sessions", b.adminToken(t), nil)
	}
	share := 100 + 1 + int(time.Since(started)/time.Second)
	b.end(t)
	lines := map[any]int{}
	for _, l := range kept.lines(t) {
		if l["message"] == "request" && l["level"] == "INFO" {
			lines[l["route"]]++
		}
	}
	if got := lines["GET /sessions/{id}"]; got > share || got < 100 {
		t.Errorf("%d reads of a user have %d lines of the log, want no more than %d", flood, got, share)
	}
	if got := lines["GET /sessions"]; got != flood {
		t.Errorf("%d reads of the operator have %d lines of the log, want all", flood, got)
	}
	var user int
	for _, r := range records(t, cfg.Log.AuditFile) {
		if r.Actor == "user" {
			user++
		}
	}
	if user != 1 {
		t.Errorf("500 reads of a user have %d records, want 1", user)
	}
}

// Text of sessions' servers and unauthenticated clients is truncated in the log.
func TestLongMethodIsTruncatedInLog(t *testing.T) {
	t.Parallel()
	b, kept := startLogged(t, settings(t))
	req, err := http.NewRequestWithContext(t.Context(), strings.Repeat("A", 50<<10), "http://"+b.Addr().String()+"/nothing", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	b.end(t)
	var seen int
	for _, l := range kept.lines(t) {
		if method, _ := l["method"].(string); strings.HasPrefix(method, "AAAA") {
			seen++
			if len(method) > 4<<10 {
				t.Errorf("%v: got a method of %d bytes in the log", l["message"], len(method))
			}
		}
	}
	if seen == 0 {
		t.Error("the request is not in the log at all")
	}
}
