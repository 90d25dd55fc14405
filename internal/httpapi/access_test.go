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
			if !slices.ContainsFunc(w.api.Routes(), func(r httpapi.Route) bool { return r.Method == strings.ToUpper(method) && r.Path == path }) {
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
