package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/proxy"
	"berth/internal/proxy/policy"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
	"berth/internal/storetest"
	"berth/internal/usage"
)

const adminToken = "the-operator's-own-token"

// fixture is the API on a real session manager, behind a real HTTP server.
type fixture struct {
	*sessiontest.Fixture
	t        *testing.T
	api      *httpapi.API
	url      string
	draining chan struct{}
	ready    error
	asked    atomic.Int32 // number of health queries
	health   httpapi.Health
	tokens   storetest.MemoryTokens
	trail    *access.Trail // nil: nothing is recorded
	usage    *usage.Ledger
}

func newFixture(t *testing.T, change ...func(*lifecycle.Options)) *fixture {
	t.Helper()
	return newFixtureWith(t, nil, change...)
}

// newFixtureWith is newFixture with other options of the API.
func newFixtureWith(t *testing.T, adjust func(*fixture, *httpapi.Options), change ...func(*lifecycle.Options)) *fixture {
	t.Helper()
	w := &fixture{Fixture: sessiontest.New(t, change...), t: t, draining: make(chan struct{})}
	w.health = httpapi.Health{Status: "healthy", StorageBackend: "json"}
	w.usage = newLedger(t, w.Options.Now)
	opts := httpapi.Options{
		Sessions: w.Manager, Access: w.admitting(nil), Version: "test",
		Ready:     func() error { return w.ready },
		Instances: func() []httpapi.Instance { return []httpapi.Instance{{ID: "node-1", Alive: true, Self: true}} },
		Health: func(context.Context) httpapi.Health {
			w.asked.Add(1)
			return w.health
		},
		Usage: w.usage,
		Now:   w.Options.Now, Draining: w.draining,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "measured 1\n") }),
	}
	if adjust != nil {
		adjust(w, &opts)
	}
	api, err := httpapi.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	w.api = api
	server := httptest.NewServer(w.proxied(api.Handler()))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// admitting returns an Authority with a throttle; nil: no limit.
func (w *fixture) admitting(throttle access.Throttle) *access.Authority {
	w.t.Helper()
	tokens, err := access.OpenRegistry(w.t.Context(), access.RegistryOptions{Store: &w.tokens, Keys: w.Keys, Now: w.Options.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	authority, err := access.New(access.Options{
		Keys: w.Keys, Tokens: tokens, AdminToken: adminToken, Throttle: throttle, Now: w.Options.Now,
		People: people{alicesToken: "alice", bobsToken: "bob"}, Trail: w.trail,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return authority
}

// proxied sends requests under /s/ to a proxy with the present routes.
func (w *fixture) proxied(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, policy.PathPrefix), "/")
		if !ok || !strings.HasPrefix(r.URL.Path, policy.PathPrefix) {
			next.ServeHTTP(rw, r)
			return
		}
		table := proxy.NewTable()
		defer table.Close()
		if route, ok := w.Routes.Get(session.ID(id)); ok {
			table.Set(route)
		}
		p, err := proxy.New(proxy.Options{
			Table: table, Access: w.admitting(nil), Logger: slog.New(slog.DiscardHandler), SignIns: w.Manager, Devices: true,
		})
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		p.ServeHTTP(rw, r)
	})
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) problem(t *testing.T) httpapi.Problem {
	t.Helper()
	var p httpapi.Problem
	if err := json.Unmarshal(a.body, &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %s %s, want a problem document", a.status, a.header.Get("Content-Type"), a.body)
	}
	return p
}

func (w *fixture) call(method, path, token, body string, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, text}
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

func TestCreateWaitsAndShowsTheTokenOnce(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	a := w.call(http.MethodPost, "/sessions", adminToken, `{"owner":"alice","metadata":{"team":"x"}}`)
	made := decode[httpapi.NewSession](t, a)
	if a.status != http.StatusCreated || made.Status != session.Running || len(made.Token) != 32 || made.Operation != nil {
		t.Fatalf("got %d %s, want 201, running, with a token", a.status, a.body)
	}
	if want := "/sessions/" + string(made.ID); a.header.Get("Location") != want || made.Path != "/s/"+string(made.ID)+"/" {
		t.Errorf("got Location %q and path %q, want %q", a.header.Get("Location"), made.Path, want)
	}
	shown := w.call(http.MethodGet, "/sessions/"+string(made.ID), adminToken, "")
	stored, err := w.Get(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{
		"token": made.Token, "digest": stored.Token.Digest, "credential": w.Keys.Upstream(stored.ContainerName).Reveal(),
	} {
		if bytes.Contains(shown.body, []byte(secret)) {
			t.Errorf("GET shows the %s: %s", name, shown.body)
		}
	}
}

func TestRespondAsyncReturnsAtOnce(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	release := make(chan struct{})
	w.Engine.Script(runtimetest.OpCreate, runtimetest.Step{Until: release})
	a := w.call(http.MethodPost, "/sessions", adminToken, `{}`, "Prefer", "wait=5, Respond-Async")
	made := decode[httpapi.NewSession](t, a)
	if a.status != http.StatusAccepted || made.Status != session.Creating || made.Operation == nil || made.Token == "" {
		t.Errorf("got %d %s, want 202 and creating", a.status, a.body)
	}
	close(release)
	for deadline := time.Now().Add(5 * time.Second); ; {
		if decode[httpapi.Session](t, w.call(http.MethodGet, "/sessions/"+string(made.ID), adminToken, "")).Status == session.Running {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the session was not running within 5 s")
		}
	}
	if a := w.call(http.MethodDelete, "/sessions/"+string(made.ID), adminToken, "", "Prefer", "respond-async"); a.status != http.StatusAccepted {
		t.Errorf("delete: got %d, want 202", a.status)
	}
}

func TestSessionLifecycleOverHTTP(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, _ := w.Make(lifecycle.Request{Owner: "alice"})
	path := "/sessions/" + string(s.ID)
	for _, step := range []struct {
		method, path string
		status       int
		want         session.Status
	}{
		{http.MethodPost, path + "/stop", 200, session.Stopped},
		{http.MethodPost, path + "/start", 200, session.Running},
		{http.MethodPost, path + "/start", 200, session.Running},
		{http.MethodPost, path + "/restart", 200, session.Running},
		{http.MethodGet, path, 200, session.Running},
		{http.MethodDelete, path, 204, ""},
		{http.MethodGet, path, 404, ""},
		{http.MethodDelete, path, 404, ""},
		{http.MethodPost, path + "/start", 404, ""},
	} {
		a := w.call(step.method, step.path, adminToken, "")
		if a.status != step.status || step.want != "" && decode[httpapi.Session](t, a).Status != step.want {
			t.Errorf("%s %s: got %d %s, want %d %s", step.method, step.path, a.status, a.body, step.status, step.want)
		}
	}
}

func TestListPagesAndFilters(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, owner := range []string{"alice", "bob", "alice"} {
		w.Make(lifecycle.Request{Owner: owner})
	}
	type page struct {
		Sessions []httpapi.Session
		Next     string
	}
	var owners []string
	for after := ""; ; {
		p := decode[page](t, w.call(http.MethodGet, "/sessions?limit=1&after="+after, adminToken, ""))
		for _, s := range p.Sessions {
			owners = append(owners, s.Owner)
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if got := strings.Join(owners, " "); got != "alice bob alice" {
		t.Errorf("all pages: got %q, want the three in the order of their creation", got)
	}
	for query, want := range map[string]int{"owner=alice": 2, "owner=nobody": 0, "status=running": 3, "status=stopped,error": 0, "owner=bob&status=running": 1} {
		if got := len(decode[page](t, w.call(http.MethodGet, "/sessions?"+query, adminToken, "")).Sessions); got != want {
			t.Errorf("%s: got %d sessions, want %d", query, got, want)
		}
	}
	for _, query := range []string{"status=sleeping", "limit=0", "limit=1001", "limit=x"} {
		if a := w.call(http.MethodGet, "/sessions?"+query, adminToken, ""); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d, want 422", query, a.status)
		}
	}
}

func TestIdempotencyKeyOverHTTP(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	first := w.call(http.MethodPost, "/sessions", adminToken, `{"owner":"a"}`, "Idempotency-Key", "k1")
	again := w.call(http.MethodPost, "/sessions", adminToken, `{"owner":"a"}`, "Idempotency-Key", "k1")
	a, b := decode[httpapi.NewSession](t, first), decode[httpapi.NewSession](t, again)
	if again.status != http.StatusOK || again.header.Get("Idempotency-Replayed") != "true" || a.ID != b.ID || a.Token == b.Token {
		t.Errorf("got %d %s, want 200 with session %s and a fresh token", again.status, again.body, a.ID)
	}
	other := w.call(http.MethodPost, "/sessions", adminToken, `{"owner":"a","metadata":{"x":1}}`, "Idempotency-Key", "k1")
	if p := other.problem(t); other.status != 422 || p.Code != session.CodeIdempotencyMismatch {
		t.Errorf("same key, other request: got %d %s", other.status, p.Code)
	}
}

func TestFailuresAreProblemDocuments(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *lifecycle.Options) { o.MaxSessions = 1 })
	w.Make(lifecycle.Request{})
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		code                     session.Code
	}{
		{"limit reached", http.MethodPost, "/sessions", `{}`, 429, session.CodeLimit},
		{"unknown session", http.MethodGet, "/sessions/ses-unknown", "", 404, session.CodeNotFound},
		{"malformed id", http.MethodGet, "/sessions/SES%2f..", "", 404, session.CodeNotFound},
		{"no such route", http.MethodGet, "/nowhere", "", 404, session.CodeNotFound},
		{"wrong method", http.MethodPut, "/sessions", "", 405, session.CodeMethod},
		{"not JSON", http.MethodPost, "/sessions", `{`, 400, session.CodeMalformed},
		{"wrong type", http.MethodPost, "/sessions", `{"owner":1}`, 422, session.CodeInvalid},
		{"unknown member", http.MethodPost, "/sessions", `{"x":1}`, 422, session.CodeInvalid},
		{"unknown profile", http.MethodPost, "/sessions", `{"profile":"x"}`, 422, session.CodeInvalid},
		{"large body", http.MethodPost, "/sessions", `{"owner":"` + strings.Repeat("x", 300<<10) + `"}`, 413, session.CodeTooLarge},
	} {
		a := w.call(c.method, c.path, adminToken, c.body, "X-Request-ID", "req-test")
		p := a.problem(t)
		if a.status != c.status || p.Status != c.status || p.Code != c.code || p.Detail == "" || p.RequestID != "req-test" || p.Type != "about:blank" {
			t.Errorf("%s: got %d %s, want %d %s with detail and request id", c.name, a.status, a.body, c.status, c.code)
		}
	}
}

func TestFailedCreateNamesTheSessionAndHidesTheCause(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Engine.Script(runtimetest.OpStart, runtimetest.Step{Err: session.Errorf(session.CodePortTaken, "no port is left").Because(io.ErrUnexpectedEOF)})
	a := w.call(http.MethodPost, "/sessions", adminToken, `{}`)
	p := a.problem(t)
	if a.status != http.StatusServiceUnavailable || p.Code != session.CodePortTaken || p.Detail != "no port is left" {
		t.Errorf("got %d %s, want 503 port_unavailable without the cause", a.status, a.body)
	}
	if s := decode[httpapi.Session](t, w.call(http.MethodGet, "/sessions/"+string(p.SessionID), adminToken, "")); s.Status != session.Error || s.LastError != p.Detail {
		t.Errorf("got %+v, want the session in error with the same words", s)
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	t.Parallel()
	for _, code := range session.Codes() {
		p := httpapi.ProblemOf(session.Errorf(code, "x"))
		if p.Status < 400 || p.Status > 599 || p.Code != code {
			t.Errorf("%s has status %d and code %s", code, p.Status, p.Code)
		}
	}
}
