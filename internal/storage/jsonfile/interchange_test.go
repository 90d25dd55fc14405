package jsonfile

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

func digestOf(token string) string { return "digest of " + token }

func TestWriteThenReadReturnsSessions(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	want := []session.Session{
		{ID: "ses-a", Status: session.Running, Revision: 7, CreatedAt: at, Metadata: map[string]any{"a": "b"}},
		{
			ID: "ses-b", Status: session.Stopped, Revision: 1, CreatedAt: at, Token: session.Token{Digest: "00"},
			Operation: &session.Operation{Kind: session.OpStop, Owner: "node", Deadline: at},
		},
	}
	data, err := Write(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(data, digestOf)
	if err != nil || got.Format != FormatBerth || len(got.Rejected) > 0 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if diff := cmp.Diff(want, got.Sessions); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	path := file(t)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path, Options{})
}

// All formats of the ten columns in files of the legacy service.
func TestReadAcceptsLegacyFormats(t *testing.T) {
	t.Parallel()
	const entry = `{"session_id":"abc","container_name":"opencode-abc","container_id":"c1","host_dir":"/data/abc","port":40001,` +
		`"auth_token":"sesame","created_at":"2024-01-15T10:30:45.123456","last_accessed":"2024-01-15 11:30:45+01:00","status":"running",` +
		`"metadata":{"user":"ann"}}`
	want := session.Session{
		ID: "abc", ContainerName: "opencode-abc", ContainerID: "c1", HostDir: "/data/abc", Token: session.Token{Digest: "digest of sesame"},
		CreatedAt:    time.Date(2024, 1, 15, 10, 30, 45, 123456000, time.UTC),
		LastAccessed: time.Date(2024, 1, 15, 10, 30, 45, 0, time.UTC),
		Status:       session.Stopped, Revision: 1,
		LastError: "moved from the service before Berth, which ran its container; start it to have a new one",
		Metadata:  map[string]any{"user": "ann"},
	}
	for name, text := range map[string]string{
		"by ID": `{"abc":` + entry + `}`, "an array": `[` + entry + `]`, "an object of sessions": `{"sessions":{"abc":` + entry + `}}`,
		"an array of sessions": `{"sessions":[` + entry + `]}`,
		"without its own ID":   `{"abc":` + strings.Replace(entry, `"session_id":"abc",`, "", 1) + `}`,
		"strings for values": `[` + strings.NewReplacer(`40001`, `"40001"`, `{"user":"ann"}`, `"{\"user\":\"ann\"}"`,
			`"running"`, `"RUNNING"`).Replace(entry) + `]`,
	} {
		got, err := Read([]byte(text), digestOf)
		if err != nil || got.Format != FormatLegacy {
			t.Errorf("%s: got %+v, %v", name, got, err)
			continue
		}
		if diff := cmp.Diff(Contents{Format: FormatLegacy, Sessions: []session.Session{want}}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestUnreadableEntriesAreRejected(t *testing.T) {
	t.Parallel()
	const good = `{"session_id":"ok","created_at":1700000000,"status":"error"}`
	for entry, reason := range map[string]string{
		`7`: "no JSON object", `null`: "no JSON object", `{"created_at":1}`: "no session_id",
		`{"session_id":"A B","created_at":1,"status":"stopped"}`:                 "session_id is not",
		`{"session_id":"a","created_at":"soon","status":"stopped"}`:              "created_at",
		`{"session_id":"a","created_at":-1,"status":"stopped"}`:                  "created_at",
		`{"session_id":"a","created_at":1,"status":"paused"}`:                    "status",
		`{"session_id":"a","created_at":1,"status":"stopped","port":70000}`:      "port",
		`{"session_id":"a","created_at":1,"status":"stopped","metadata":[]}`:     "metadata",
		`{"session_id":"a","created_at":1,"status":"stopped","auth_token":true}`: "auth_token",
		`{"session_id":"ok","created_at":1,"status":"stopped"}`:                  "another entry",
		`{"session_id":"a","session_id":"b","created_at":1,"status":"stopped"}`:  "twice",
	} {
		got, err := Read([]byte(`[`+good+`,`+entry+`]`), digestOf)
		if err != nil || len(got.Sessions) != 1 || len(got.Rejected) != 1 {
			t.Errorf("%s: got %+v, %v; want it rejected and the other one read", entry, got, err)
			continue
		}
		if r := got.Rejected[0]; !strings.Contains(r.Reason, reason) || string(r.Raw) != entry || r.Name != "1" {
			t.Errorf("%s: rejected as %+v, want a reason with %q", entry, r, reason)
		}
	}
	own, err := Read([]byte(`{"berth_store":1,"sessions":{"ses-a":`+`{"session_id":"ses-a","status":"stopped","revision":1}`+`,"ses-b":{"session_id":"ses-b"}}}`), digestOf)
	if err != nil || len(own.Sessions) != 1 || len(own.Rejected) != 1 || own.Rejected[0].Name != "ses-b" {
		t.Errorf("a file of our own with a damaged entry: got %+v, %v", own, err)
	}
	for _, text := range []string{"", "{", `"sessions"`, `7`, `{"sessions":7}`, `{"berth_store":2,"sessions":{}}`, `{"berth_store":1}`} {
		if got, err := Read([]byte(text), digestOf); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func TestReplaceIsAtomic(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	a := create(t, s, "ses-a")
	create(t, s, "ses-b")
	a.Revision, a.Owner = 9, "bob"
	fresh := session.Session{ID: "ses-c", Status: session.Stopped, Revision: 3}
	if err := s.Replace(t.Context(), []session.Session{a, fresh}); err != nil {
		t.Fatal(err)
	}
	bad := fresh
	bad.Metadata = map[string]any{"f": func() {}}
	if err := s.Replace(t.Context(), []session.Session{bad}); session.CodeOf(err) != session.CodeInvalid {
		t.Errorf("a session without a form in JSON: got %v, want it invalid", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	page, err := s.List(context.Background(), session.Query{})
	if err != nil || len(page.Sessions) != 2 {
		t.Fatalf("got %+v, %v; want two sessions", page, err)
	}
	if got, err := s.Get(t.Context(), "ses-a"); err != nil || got.Revision != 9 || got.Owner != "bob" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Remove(path); err != nil || Exists(path) || Exists(path+previousSuffix) {
			t.Fatalf("remove: %v", err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"abc":{"created_at":1,"status":"stopped","auth_token":"t"}}`))
	f.Add([]byte(`{"berth_store":1,"sessions":{"ses-a":{"session_id":"ses-a","status":"stopped","revision":1}}}`))
	f.Add([]byte(`[{"session_id":"a","created_at":"2024-01-15 11:30:45+01","status":"Running","metadata":"{}"},7]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		contents, err := Read(data, digestOf)
		if err != nil {
			return
		}
		for _, r := range contents.Rejected {
			if !json.Valid(r.Raw) || r.Reason == "" {
				t.Errorf("rejected as %+v", r)
			}
		}
		written, err := Write(contents.Sessions)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Read(written, digestOf)
		if err != nil || len(again.Sessions) != len(contents.Sessions) || len(again.Rejected) > 0 {
			t.Fatalf("what was written reads as %+v, %v", again, err)
		}
	})
}
