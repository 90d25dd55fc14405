package httpapi_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// admitted lists the callers of each kind of route; all others get 401.
var admitted = map[string][]string{
	"everyone": {"none", "wrong", "expired", "rotated", "in grace", "foreign", "own", "admin"},
	"admin":    {"admin"},
	"own":      {"in grace", "own", "admin"},
	"present":  {"own", "admin"},    // an old token must not replace the new one
	"session":  {"in grace", "own"}, // the operator may not use sessions
}

// rows have the admitted callers and the expected status of every route. A route without a row fails, as does a row without a
// route.
var rows = map[string]struct {
	who    string
	status int
}{
	"GET /livez":                      {"everyone", 200},
	"GET /readyz":                     {"everyone", 200},
	"GET /openapi.json":               {"everyone", 200},
	"GET /health":                     {"everyone", 200},
	"GET /health/container":           {"everyone", 200},
	"GET /health/container/{id}":      {"own", 200},
	"GET /metrics":                    {"admin", 200},
	"GET /instances":                  {"admin", 200},
	"POST /sessions":                  {"admin", 201},
	"GET /sessions":                   {"admin", 200},
	"GET /sessions/{id}":              {"own", 200},
	"DELETE /sessions/{id}":           {"admin", 204},
	"POST /sessions/{id}/start":       {"admin", 200},
	"POST /sessions/{id}/stop":        {"admin", 200},
	"POST /sessions/{id}/restart":     {"admin", 200},
	"POST /sessions/{id}/upgrade":     {"admin", 200},
	"POST /sessions/{id}/cancel":      {"admin", 409}, // nothing is in progress
	"GET /sessions/{id}/logs":         {"admin", 200},
	"GET /sessions/{id}/events":       {"own", 200},
	"GET /sessions/{id}/auth":         {"own", 200},
	"POST /sessions/{id}/auth/rotate": {"present", 200},
	"GET /auth/sessions":              {"admin", 200},
	"POST /tokens":                    {"admin", 400},
	"GET /tokens":                     {"admin", 200},
	"DELETE /tokens/{token_id}":       {"admin", 404},
	"GET /s/{id}/echo":                {"session", 200}, // the proxy, which has one route for all methods
	"POST /s/{id}/session":            {"session", 200},
}

// shown is a token and the session of the request.
type shown struct {
	id    session.ID
	token session.Secret
}

// callers makes sessions and one caller of each kind. Those that are refused everywhere come first, because the others may
// delete the session.
func (w *fixture) callers() (order []string, callers map[string]shown) {
	w.t.Helper()
	must := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	mine, own := w.Make(lifecycle.Request{})
	_, foreign := w.Make(lifecycle.Request{})
	expired, late := w.Make(lifecycle.Request{})
	record, err := w.Get(w.t.Context(), expired.ID)
	must(err)
	record.Token.ExpiresAt = w.Options.Now().Add(-time.Microsecond)
	_, err = w.Store.Update(w.t.Context(), record, session.Unlimited)
	must(err)
	must(w.Reconcile(w.t.Context()))
	rotated, old := w.Make(lifecycle.Request{})
	_, _, err = w.Rotate(w.t.Context(), rotated.ID)
	must(err)
	graced, previous := w.Make(lifecycle.Request{})
	_, _, err = w.RotateWithGrace(w.t.Context(), graced.ID, time.Minute)
	must(err)
	return admitted["everyone"], map[string]shown{
		"none": {mine.ID, ""}, "wrong": {mine.ID, adminToken + "x"}, "expired": {expired.ID, late}, "rotated": {rotated.ID, old},
		"in grace": {graced.ID, previous}, "foreign": {mine.ID, foreign}, "own": {mine.ID, own}, "admin": {mine.ID, adminToken},
	}
}

func TestPermissionsOfEveryRoute(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	routes := map[string]bool{"GET /s/{id}/echo": true, "POST /s/{id}/session": true}
	for _, r := range w.api.Routes() {
		routes[r.Method+" "+r.Path] = true
		if _, ok := rows[r.Method+" "+r.Path]; !ok {
			t.Errorf("%s %s has no row: add its callers", r.Method, r.Path)
		}
	}
	for route, row := range rows {
		if !routes[route] {
			t.Errorf("%s has a row and does not exist", route)
			continue
		}
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			order, callers := w.callers()
			method, path, _ := strings.Cut(route, " ")
			for _, name := range order {
				c, want := callers[name], http.StatusUnauthorized
				if slices.Contains(admitted[row.who], name) {
					want = row.status
				}
				a := w.call(method, strings.Replace(path, "{id}", string(c.id), 1), c.token.Reveal(), "")
				if a.status != want {
					t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, want)
				}
				if a.status == http.StatusUnauthorized && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s: got no WWW-Authenticate", name)
				}
			}
		})
	}
}

// The OpenAPI document lists exactly the routes.
func TestOpenAPIListsTheRoutes(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	var api struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	if err := json.Unmarshal(w.call(http.MethodGet, "/openapi.json", "", "").body, &api); err != nil || !strings.HasPrefix(api.OpenAPI, "3.1") {
		t.Fatalf("the OpenAPI document is %q: %v", api.OpenAPI, err)
	}
	documented := 0
	for path, methods := range api.Paths {
		for method := range methods {
			documented++
			if !slices.Contains(w.api.Routes(), httpapi.Route{Method: strings.ToUpper(method), Path: path}) {
				t.Errorf("%s %s is in the document and is no route", method, path)
			}
		}
	}
	if plain := 3; documented+plain != len(w.api.Routes()) { // the probes and the document itself
		t.Errorf("the document has %d routes, there are %d", documented, len(w.api.Routes()))
	}
}

func TestUnknownSessionAndWrongTokenGetSameResponse(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, _ := w.Make(lifecycle.Request{})
	for _, token := range []string{"", "wrong"} {
		there := w.call(http.MethodGet, "/sessions/"+string(s.ID), token, "")
		nowhere := w.call(http.MethodGet, "/sessions/"+string(session.NewID()), token, "")
		malformed := w.call(http.MethodGet, "/sessions/A%20B", token, "")
		if there.status != nowhere.status || string(there.body) != string(nowhere.body) || string(there.body) != string(malformed.body) {
			t.Errorf("with token %q: %s, %s and %s differ", token, there.body, nowhere.body, malformed.body)
		}
	}
}

func TestRotateOverHTTP(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, old := w.Make(lifecycle.Request{})
	path := "/sessions/" + string(s.ID)
	made := decode[httpapi.NewToken](t, w.call(http.MethodPost, path+"/auth/rotate", old.Reveal(), ""))
	if a := w.call(http.MethodGet, path, old.Reveal(), ""); a.status != http.StatusUnauthorized {
		t.Errorf("the old token: got %d, want 401", a.status)
	}
	auth := decode[httpapi.Auth](t, w.call(http.MethodGet, path+"/auth", made.Token, ""))
	if !auth.Valid || auth.ExpiresAt == nil || !auth.RotatedAt.After(s.Token.RotatedAt) {
		t.Errorf("got %+v, want a valid token that was rotated after %s", auth, s.Token.RotatedAt)
	}
}

func TestProbesAndHealth(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, path := range []string{"/livez", "/readyz"} {
		if a := w.call(http.MethodGet, path, "", ""); a.status != http.StatusOK {
			t.Errorf("%s: got %d, want 200", path, a.status)
		}
	}
	public, operator := w.call(http.MethodGet, "/health", "", ""), w.call(http.MethodGet, "/health", adminToken, "")
	if got := strings.TrimSpace(string(public.body)); got != `{"status":"healthy"}` {
		t.Errorf("an unauthenticated client sees %s, want the status only", got)
	}
	if h := decode[httpapi.Health](t, operator); h.StorageBackend != "json" || h.Version != "test" {
		t.Errorf("the operator sees %s, want the details", operator.body)
	}
	w.ready = session.Errorf(session.CodeShuttingDown, "stopping")
	if a := w.call(http.MethodGet, "/readyz", "", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz while stopping: got %d, want 503", a.status)
	}
	if a := w.call(http.MethodGet, "/livez", "", ""); a.status != http.StatusOK {
		t.Errorf("livez while stopping: got %d, want 200", a.status)
	}
}

func TestManyHealthRequestsQueryTheStoreOnceASecond(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ask := func(count int) {
		for range count {
			if a := w.call(http.MethodGet, "/health", "", ""); a.status != http.StatusOK {
				t.Fatalf("got %d %s", a.status, a.body)
			}
		}
	}
	begun := time.Now()
	ask(100)
	if got, most := int(w.asked.Load()), 1+int(time.Since(begun)/time.Second); got > most {
		t.Errorf("100 requests made %d health queries, want %d at most", got, most)
	}
	before := w.asked.Load()
	w.Clock.Advance(2 * time.Second)
	ask(1)
	if got := w.asked.Load(); got != before+1 {
		t.Errorf("two seconds later: got %d queries, want one more than %d", got, before)
	}
}

func TestLogsAreStreamedAndEndWithTheServer(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, _ := w.Make(lifecycle.Request{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/sessions/"+string(s.ID)+"/logs?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || !lines.Scan() {
		t.Fatalf("got %s %s, want plain text with a line while the container runs", resp.Status, resp.Header.Get("Content-Type"))
	}
	close(w.draining)
	for lines.Scan() { // must end, or the test times out
	}
	stopped, _ := w.Make(lifecycle.Request{})
	w.Engine.RemoveExternally(stopped.ContainerName)
	if a := w.call(http.MethodGet, "/sessions/"+string(stopped.ID)+"/logs", adminToken, ""); a.problem(t).Code != session.CodeNotRunning {
		t.Errorf("logs without a container: got %s", a.body)
	}
}
