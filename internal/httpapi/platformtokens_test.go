package httpapi_test

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// issue creates a platform token over HTTP.
func (w *fixture) issue(name string, scopes []string, more string) httpapi.NewPlatformToken {
	w.t.Helper()
	text, err := json.Marshal(scopes)
	if err != nil {
		w.t.Fatal(err)
	}
	a := w.call(http.MethodPost, "/tokens", adminToken, `{"name":"`+name+`","scopes":`+string(text)+more+`}`)
	if a.status != http.StatusCreated || a.header.Get("Cache-Control") != "no-store" {
		w.t.Fatalf("create the token %s: got %d %s", name, a.status, a.body)
	}
	return decode[httpapi.NewPlatformToken](w.t, a)
}

func (w *fixture) platformTokens() []httpapi.PlatformToken {
	w.t.Helper()
	return decode[struct {
		Tokens []httpapi.PlatformToken `json:"tokens"`
	}](w.t, w.call(http.MethodGet, "/tokens", adminToken, "")).Tokens
}

func TestPlatformTokenOverHTTP(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made := w.issue("ci", []string{"sessions:read", "sessions:create"}, `,"expires_in":"720h"`)
	if made.CreatedBy != "operator" || made.ExpiresAt == nil || made.ExpiresAt.Sub(made.CreatedAt) != 720*time.Hour ||
		!slices.Equal(made.Scopes, []string{"sessions:create", "sessions:read"}) {
		t.Errorf("got %+v", made.PlatformToken)
	}
	list := w.call(http.MethodGet, "/tokens", adminToken, "")
	if got := w.platformTokens(); len(got) != 1 || got[0].ID != made.ID || got[0].LastUsedAt != nil {
		t.Errorf("got %+v, want the token, not used", got)
	}
	stored, err := w.tokens.PlatformTokens(t.Context())
	if err != nil || strings.Contains(string(list.body), made.Token) || strings.Contains(string(list.body), stored[0].Digest) {
		t.Errorf("the list shows a secret or a digest: %s", list.body)
	}
	if a := w.call(http.MethodGet, "/sessions", made.Token, ""); a.status != http.StatusOK {
		t.Errorf("list sessions: got %d %s", a.status, a.body)
	}
	if a := w.call(http.MethodDelete, "/sessions/"+string(session.NewID()), made.Token, ""); a.problem(t).Code != session.CodeForbidden || !strings.Contains(string(a.body), "sessions:delete") {
		t.Errorf("without the scope: got %d %s, want the scope named", a.status, a.body)
	}
	if got := w.platformTokens(); got[0].LastUsedAt == nil {
		t.Error("the use of the token is not shown")
	}
	path := "/tokens/" + string(made.ID)
	if a := w.call(http.MethodDelete, path, made.Token, ""); a.status != http.StatusForbidden {
		t.Errorf("a token revokes itself: got %d %s", a.status, a.body)
	}
	if a := w.call(http.MethodDelete, path, adminToken, ""); a.status != http.StatusNoContent {
		t.Fatalf("revoke: got %d %s", a.status, a.body)
	}
	if a := w.call(http.MethodGet, "/sessions", made.Token, ""); a.status != http.StatusUnauthorized {
		t.Errorf("revoked: got %d %s", a.status, a.body)
	}
	if a := w.call(http.MethodDelete, path, adminToken, ""); a.problem(t).Code != session.CodeNotFound {
		t.Errorf("revoked again: got %d %s", a.status, a.body)
	}
}

func TestInvalidPlatformTokensAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.issue("taken", []string{"metrics"}, "")
	for body, want := range map[string]session.Code{
		``:                                      session.CodeMalformed,
		`{}`:                                    session.CodeInvalid,
		`{"name":"a","scopes":[]}`:              session.CodeInvalid,
		`{"name":"a","scopes":["sessions"]}`:    session.CodeInvalid,
		`{"name":"a b","scopes":["metrics"]}`:   session.CodeInvalid,
		`{"name":"taken","scopes":["metrics"]}`: session.CodeConflict,
		`{"name":"a","scopes":["metrics"],"x":1}`:                  session.CodeInvalid,
		`{"name":"a","scopes":["metrics"],"owner":"alice"}`:        session.CodeInvalid,
		`{"name":"a","scopes":["metrics"],"expires_in":"soon"}`:    session.CodeInvalid,
		`{"name":"a","scopes":["metrics"],"expires_in":"-1h"}`:     session.CodeInvalid,
		`{"name":"a","scopes":["metrics"],"expires_in":"999999h"}`: session.CodeInvalid,
	} {
		if a := w.call(http.MethodPost, "/tokens", adminToken, body); a.problem(t).Code != want {
			t.Errorf("%s: got %d %s, want %s", body, a.status, a.body, want)
		}
	}
	w.tokens.Fail(session.Errorf(session.CodeStoreUnavailable, "away"))
	if a := w.call(http.MethodPost, "/tokens", adminToken, `{"name":"a","scopes":["metrics"]}`); a.problem(t).Code != session.CodeStoreUnavailable {
		t.Errorf("without the store: got %d %s", a.status, a.body)
	}
}

// A token that is bound to an owner is that owner: it lists and creates, and sees no other's session.
func TestBoundTokenActsAsItsOwner(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	all := []string{"sessions:create", "sessions:read", "sessions:write", "sessions:delete", "sessions:open"}
	bound := w.issue("alices", all, `,"owner":"alice"`).Token
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", bound, `{}`))
	if made.Owner != "alice" {
		t.Errorf("got the owner %q, want alice", made.Owner)
	}
	if a := w.call(http.MethodPost, "/sessions", bound, `{"owner":"bob"}`); a.status != http.StatusForbidden {
		t.Errorf("for another owner: got %d %s", a.status, a.body)
	}
	if got := w.call(http.MethodGet, "/sessions", bound, ""); strings.Contains(string(got.body), string(his.ID)) || !strings.Contains(string(got.body), string(made.ID)) {
		t.Errorf("got the list %s, want alice's alone", got.body)
	}
	for _, path := range []string{"/sessions/" + string(his.ID), "/sessions/" + string(his.ID) + "/auth/rotate"} {
		method := http.MethodGet
		if strings.HasSuffix(path, "rotate") {
			method = http.MethodPost
		}
		if a := w.call(method, path, bound, ""); a.problem(t).Code != session.CodeNotFound {
			t.Errorf("%s: got %d %s, want not_found", path, a.status, a.body)
		}
	}
	if a := w.call(http.MethodPost, "/sessions/"+string(made.ID)+"/auth/rotate", bound, ""); a.status != http.StatusOK {
		t.Errorf("rotate the token of her session: got %d %s", a.status, a.body)
	}
	if a := w.call(http.MethodPost, "/sessions", bound, `{"image":"berth/other:1.0"}`); a.status != http.StatusForbidden {
		t.Errorf("an image that she chooses: got %d %s", a.status, a.body)
	}
}

// Who may create, and may not sign in to sessions, gets the token of no session that others have created.
func TestRepeatedCreateShowsTokensToTheirCreatorOnly(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	one := w.issue("one", []string{"sessions:create"}, "").Token
	two := w.issue("two", []string{"sessions:create"}, "").Token
	body, key := `{"owner":"alice"}`, []string{"Idempotency-Key", "order-1"}
	ids := map[session.ID]string{}
	for _, token := range []string{adminToken, one, two} {
		first := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", token, body, key...))
		again := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", token, body, key...))
		if first.ID != again.ID || again.Token == "" {
			t.Errorf("repeated: got %s and %s, want the same session", first.ID, again.ID)
		}
		if _, known := ids[first.ID]; known {
			t.Errorf("got the session %s of another creator", first.ID)
		}
		ids[first.ID] = token
	}
}

func TestStreamsEndWhenTheirTokenIsRevoked(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, _ := w.Make(lifecycle.Request{})
	made := w.issue("watcher", []string{"sessions:read"}, "")
	for _, c := range []struct{ path, accept string }{
		{"/sessions/" + string(s.ID) + "/events", "text/event-stream"}, {"/sessions/" + string(s.ID) + "/logs?follow=true", "text/plain"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+made.Token)
		req.Header.Set("Accept", c.accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		if resp.StatusCode != http.StatusOK || !lines.Scan() {
			t.Fatalf("%s: got %s and no line", c.path, resp.Status)
		}
		if a := w.call(http.MethodDelete, "/tokens/"+string(made.ID), adminToken, ""); a.status != http.StatusNoContent {
			t.Fatalf("revoke: got %d %s", a.status, a.body)
		}
		for lines.Scan() { // must end, or the test times out
		}
		made = w.issue("watcher", []string{"sessions:read"}, "")
	}
}

// syncBuilder is a strings.Builder for several goroutines.
type syncBuilder struct {
	mu sync.Mutex
	strings.Builder
}

func (b *syncBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

func (b *syncBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.String()
}

func TestPlatformTokensAreInTheAuditTrail(t *testing.T) {
	t.Parallel()
	var log syncBuilder
	out := slog.New(slog.NewTextHandler(&log, nil))
	w := newFixtureWith(t, func(w *fixture, o *httpapi.Options) {
		w.trail = access.NewTrail(out, out)
		o.Access = w.admitting(nil)
	})
	made := w.issue("ci", []string{"sessions:read"}, "")
	for range 3 {
		w.call(http.MethodGet, "/sessions", made.Token, "")
	}
	w.call(http.MethodPost, "/sessions", made.Token, "")
	w.call(http.MethodDelete, "/tokens/"+string(made.ID), adminToken, "")
	w.call(http.MethodDelete, "/tokens/"+string(made.ID), adminToken, "")
	trail := log.String()
	for text, want := range map[string]int{
		"operation=create_platform_token actor=operator outcome=ok":      1,
		"operation=revoke_platform_token actor=operator outcome=ok":      1,
		"operation=revoke_platform_token actor=operator outcome=failed":  1,
		"operation=authenticate actor=token:ci outcome=ok":               1, // the first in an hour
		"operation=authenticate actor=token:ci outcome=refused":          1,
		"token_id=" + string(made.ID) + " token=ci scopes=sessions:read": 2,
		made.Token: 0,
	} {
		if got := strings.Count(strings.ReplaceAll(trail, `remote="" `, ""), text); got != want {
			t.Errorf("%q: got %d records, want %d:\n%s", text, got, want, trail)
		}
	}
}
