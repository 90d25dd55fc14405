package httpapi_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth/internal/httpapi"
	"berth/internal/session"
)

// Every route of the OpenAPI document has a row here; a route without one fails.
func TestWhoMayCallWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine, own := w.Make(session.Request{})
	_, foreign := w.Make(session.Request{})
	expired, old := w.Make(session.Request{})
	rows := map[string]string{ // callers who are let in: everyone, admin, own token
		"GET /health":                     "everyone",
		"GET /health/container":           "everyone",
		"GET /health/container/{id}":      "own",
		"GET /metrics":                    "admin",
		"GET /instances":                  "admin",
		"POST /sessions":                  "admin",
		"GET /sessions":                   "admin",
		"GET /sessions/{id}":              "own",
		"DELETE /sessions/{id}":           "admin",
		"POST /sessions/{id}/start":       "admin",
		"POST /sessions/{id}/stop":        "admin",
		"POST /sessions/{id}/restart":     "admin",
		"POST /sessions/{id}/cancel":      "admin",
		"GET /sessions/{id}/logs":         "admin",
		"GET /sessions/{id}/events":       "own",
		"GET /sessions/{id}/auth":         "own",
		"POST /sessions/{id}/auth/rotate": "own",
	}
	document := w.call(http.MethodGet, "/openapi.json", "", "").body
	var api struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	if err := json.Unmarshal(document, &api); err != nil || !strings.HasPrefix(api.OpenAPI, "3.1") {
		t.Fatalf("the OpenAPI document is %q: %v", api.OpenAPI, err)
	}
	for path, methods := range api.Paths {
		for method := range methods {
			route := strings.ToUpper(method) + " " + path
			who, ok := rows[route]
			if !ok {
				t.Errorf("%s has no row: say who may call it", route)
				continue
			}
			delete(rows, route)
			for caller, token := range map[string]string{
				"nobody": "", "a wrong token": "wrong", "another session's token": foreign.Reveal(), "the admin token and more": adminToken + "x",
			} {
				if a := w.call(strings.ToUpper(method), strings.Replace(path, "{id}", string(mine.ID), 1), token, ""); (a.status == http.StatusUnauthorized) != (who != "everyone") {
					t.Errorf("%s by %s: got %d", route, caller, a.status)
				} else if a.status == http.StatusUnauthorized && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s by %s: got no WWW-Authenticate", route, caller)
				}
			}
			if who == "admin" {
				if a := w.call(strings.ToUpper(method), strings.Replace(path, "{id}", string(mine.ID), 1), own.Reveal(), ""); a.status != http.StatusUnauthorized {
					t.Errorf("%s by the session's token: got %d, want 401", route, a.status)
				}
			}
		}
	}
	for route := range rows {
		t.Errorf("%s has a row and is not there", route)
	}
	path := "/sessions/" + string(mine.ID)
	for _, p := range []string{path, path + "/auth"} {
		if a := w.call(http.MethodGet, p, own.Reveal(), ""); a.status != http.StatusOK {
			t.Errorf("GET %s by its own token: got %d %s, want 200", p, a.status, a.body)
		}
	}
	w.Clock.Advance(25 * time.Hour)
	if a := w.call(http.MethodGet, "/sessions/"+string(expired.ID), old.Reveal(), ""); a.status != http.StatusUnauthorized {
		t.Errorf("an expired token: got %d, want 401", a.status)
	}
}

func TestStrangersCannotTellWhetherASessionExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, _ := w.Make(session.Request{})
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
	w := newWorld(t)
	s, old := w.Make(session.Request{})
	path := "/sessions/" + string(s.ID)
	made := decode[httpapi.NewToken](t, w.call(http.MethodPost, path+"/auth/rotate", old.Reveal(), ""))
	if a := w.call(http.MethodGet, path, old.Reveal(), ""); a.status != http.StatusUnauthorized {
		t.Errorf("the old token: got %d, want 401", a.status)
	}
	auth := decode[httpapi.Auth](t, w.call(http.MethodGet, path+"/auth", made.Token, ""))
	if !auth.Valid || auth.ExpiresAt == nil || !auth.RotatedAt.After(s.TokenRotatedAt) {
		t.Errorf("got %+v, want a valid token that was rotated after %s", auth, s.TokenRotatedAt)
	}
}

func TestProbesAndHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/livez", "/readyz"} {
		if a := w.call(http.MethodGet, path, "", ""); a.status != http.StatusOK {
			t.Errorf("%s: got %d, want 200", path, a.status)
		}
	}
	stranger, operator := w.call(http.MethodGet, "/health", "", ""), w.call(http.MethodGet, "/health", adminToken, "")
	if got := strings.TrimSpace(string(stranger.body)); got != `{"status":"healthy"}` {
		t.Errorf("a stranger sees %s, want the status only", got)
	}
	if h := decode[httpapi.Health](t, operator); h.StorageBackend != "json" || h.Version != "test" {
		t.Errorf("the operator sees %s, want the details", operator.body)
	}
	w.ready = session.Errorf(session.CodeShuttingDown, "stopping")
	if a := w.call(http.MethodGet, "/readyz", "", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz of a server that stops: got %d, want 503", a.status)
	}
	if a := w.call(http.MethodGet, "/livez", "", ""); a.status != http.StatusOK {
		t.Errorf("livez of a server that stops: got %d, want 200", a.status)
	}
}

func TestStrangersCannotHaveTheStoreAskedForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
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
		t.Errorf("100 requests had the whole looked at %d times, want %d at most", got, most)
	}
	before := w.asked.Load()
	w.Clock.Advance(2 * time.Second)
	ask(1)
	if got := w.asked.Load(); got != before+1 {
		t.Errorf("two seconds later: got %d looks, want one more than %d", got, before)
	}
}

func TestLogsAreStreamedAndEndWithTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, _ := w.Make(session.Request{})
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
	for lines.Scan() { // ends, or the test's time-out says otherwise
	}
	stopped, _ := w.Make(session.Request{})
	w.Engine.Vanish(stopped.ContainerName)
	if a := w.call(http.MethodGet, "/sessions/"+string(stopped.ID)+"/logs", adminToken, ""); a.problem(t).Code != session.CodeNotRunning {
		t.Errorf("logs without a container: got %s", a.body)
	}
}
