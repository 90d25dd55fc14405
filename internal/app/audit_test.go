package app_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// record is a line of the audit trail without the fields that differ in each run.
type record struct {
	Operation, Actor, Outcome, Code, Route, Token string
	Automatic, Forced                             bool
}

// records reads the audit trail and checks that each line has principal, address, operation, time and request ID.
func records(t *testing.T, file string) []record {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []record
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // this line is being written
		}
		var r struct {
			record
			Timestamp, Level, Logger, Message, Remote string
			Request                                   string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		at, err := time.Parse("2006-01-02T15:04:05.000Z", r.Timestamp)
		if err != nil || time.Since(at) > time.Hour || r.Level != "INFO" || r.Logger != "berth.audit" || r.Message != "audit" {
			t.Errorf("not a well-formed record: %s", line)
		}
		if !strings.HasPrefix(r.Request, "req-") || r.Actor != "berth" && !strings.HasPrefix(r.Remote, "127.0.0.1:") {
			t.Errorf("a record without its request ID or its address: %s", line)
		}
		all = append(all, r.record)
	}
	return all
}

func TestAuditTrailRecordsEachOperationOnce(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Log.FileEnabled, cfg.Log.AuditFile = true, filepath.Join(t.TempDir(), "audit.log")
	b := start(t, cfg)
	admin := b.adminToken(t)
	var made, fresh struct {
		ID    string `json:"session_id"`
		Token string `json:"token"`
	}
	b.call(t, http.MethodPost, "/sessions", admin, &made)
	path, server := "/sessions/"+made.ID, "/s/"+made.ID+"/session"
	for range 3 { // which is recorded once
		b.call(t, http.MethodGet, server, made.Token, nil)
	}
	b.call(t, http.MethodGet, server, "wrong", nil)
	b.call(t, http.MethodGet, path, "", nil)
	b.call(t, http.MethodPost, path+"/auth/rotate", made.Token, &fresh)
	b.call(t, http.MethodPost, path+"/cancel", admin, nil)
	b.call(t, http.MethodPost, path+"/stop", admin, nil)
	b.call(t, http.MethodPost, path+"/start", admin, nil)
	b.call(t, http.MethodPost, path+"/stop?force=true", admin, nil)
	b.call(t, http.MethodDelete, path, admin, nil)
	b.call(t, http.MethodDelete, path, admin, nil)
	b.end(t)

	enter := func(route string) record {
		return record{Operation: "authenticate", Actor: "operator", Outcome: "ok", Route: route, Token: "present"}
	}
	did := func(operation string) record { return record{Operation: operation, Actor: "operator", Outcome: "ok"} }
	want := []record{
		enter("create-session"), did("engine_create"), did("engine_start"), did("create"),
		{Operation: "authenticate", Actor: "user", Outcome: "ok", Route: "proxy", Token: "present"},
		{Operation: "authenticate", Actor: "user", Outcome: "ok", Route: "rotate-session-token", Token: "present"},
		{Operation: "rotate_token", Actor: "user", Outcome: "ok"},
		enter("cancel-session-operation"),
		{Operation: "cancel", Actor: "operator", Outcome: "refused", Code: "conflict"},
		enter("stop-session"), did("engine_stop"), did("stop"),
		enter("start-session"), did("engine_start"), did("start"),
		enter("stop-session"), did("engine_stop"),
		{Operation: "stop", Actor: "operator", Outcome: "ok", Forced: true},
		enter("delete-session"), did("engine_remove"), did("engine_remove_volumes"), did("delete"),
		enter("delete-session"),
		{Operation: "delete", Actor: "operator", Outcome: "refused", Code: "not_found"},
	}
	if d := cmp.Diff(want, records(t, cfg.Log.AuditFile)); d != "" {
		t.Errorf("the trail (-want +got):\n%s", d)
	}
	want = []record{
		{Operation: "authenticate", Actor: "anonymous", Outcome: "refused", Route: "proxy", Token: "wrong"},
		{Operation: "authenticate", Actor: "anonymous", Outcome: "refused", Route: "get-session", Token: "missing"},
	}
	if d := cmp.Diff(want, records(t, cfg.Log.RefusalsFile())); d != "" {
		t.Errorf("the refusals (-want +got):\n%s", d)
	}
	text, _ := os.ReadFile(cfg.Log.AuditFile)
	for _, secret := range []string{admin, made.Token, fresh.Token} {
		if strings.Contains(string(text), secret) {
			t.Error("a token is in the trail")
		}
	}
}

// Automatic operations are in the trail too, with Berth as the actor.
func TestAuditTrailRecordsAutomaticRestarts(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Log.FileEnabled, cfg.Log.AuditFile = true, filepath.Join(t.TempDir(), "audit.log")
	cfg.Health.RestartDelay = 1
	b := start(t, cfg)
	var made struct {
		ID    string `json:"session_id"`
		Token string `json:"token"`
	}
	b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &made)
	b.exit(t, made.ID, made.Token)
	deadline := time.After(20 * time.Second)
	for {
		if slices.Contains(records(t, cfg.Log.AuditFile), record{Operation: "restart", Actor: "berth", Outcome: "ok", Automatic: true}) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("no automatic restart among %+v", records(t, cfg.Log.AuditFile))
		}
	}
}

// Without log files the trail is on the console, whatever its level.
func TestAuditTrailGoesToConsoleWithoutLogFiles(t *testing.T) {
	t.Parallel()
	b, kept := startLogged(t, settings(t))
	b.call(t, http.MethodGet, "/sessions", "wrong-token-of-a-client", nil)
	var found bool
	for _, l := range kept.lines(t) {
		found = found || l["logger"] == "berth.audit" && l["outcome"] == "refused" && regexp.MustCompile(`^127\.0\.0\.1:`).MatchString(l["remote"].(string))
	}
	if !found {
		t.Errorf("no record among %v", kept.lines(t))
	}
}
