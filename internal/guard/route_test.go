package guard

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestRouteOf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/_ping":                                 "/_ping",
		"/v1.41/_ping":                           "/_ping",
		"/v1.41":                                 "/{other}",
		"/":                                      "/{other}",
		"/v1.41/events":                          routeEvents,
		"/containers/json":                       "/containers/json",
		"/v1.56/containers/create":               "/containers/create",
		"/v1.41/containers/abc":                  "/containers/{id}",
		"/v1.41/containers/abc/attach":           routeAttach,
		"/v1.41/containers/json/attach":          routeAttach,
		"/v1.41/containers/abc/attach/ws":        "/containers/{id}/attach/ws",
		"/v1.41/containers/abc/logs":             routeLogs,
		"/v1.41/containers/abc/nonsense":         "/containers/{id}/{other}",
		"/v1.41/containers/abc/logs/a/b":         "/containers/{id}/{other}",
		"/v1.41/exec/abc/start":                  routeExecStart,
		"/v1.41/networks":                        "/networks",
		"/v1.41/images/a/b/c/json":               "/images/{name}/json",
		"/v1.41/images/host:5000/a":              "/images/{name}",
		"/v1.41/images/json":                     "/images/json",
		"/v1.41/distribution/library/redis/json": "/distribution/{name}/json",
		"/v1.41/system/df":                       "/system/df",
		"/v1.41/build/prune":                     "/build/prune",
		"/swarm/mine":                            "/swarm/{other}",
		"/sekret/v1.41/containers":               "/{other}",
	} {
		if got := routeOf(path); got != want {
			t.Errorf("routeOf(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestEndless(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]bool{
		"/v1.41/events?since=1":                         true,
		"/v1.41/containers/x/logs?follow=1":             true,
		"/v1.41/containers/x/logs?follow=true":          true,
		"/v1.41/containers/x/logs?follow=0":             false,
		"/v1.41/containers/x/logs":                      false,
		"/v1.41/containers/x/stats":                     true,
		"/v1.41/containers/x/stats?stream=false":        false,
		"/v1.41/containers/x/stats?stream=1&one-shot=1": false,
		"/v1.41/containers/json":                        false,
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		if got := endless(r, routeOf(r.URL.Path)); got != want {
			t.Errorf("endless(%s) = %v, want %v", target, got, want)
		}
	}
	if r := httptest.NewRequest(http.MethodPost, "/events", nil); endless(r, routeEvents) {
		t.Error("a POST was taken for a stream")
	}
}

// FuzzRouteOf shows that nothing of a path that is not the engine's own vocabulary gets into the pattern.
func FuzzRouteOf(f *testing.F) {
	for _, path := range []string{"", "/", "/v1.41/containers/x/json", "/images/a/../b/push", "//containers//", "/exec/%00/start"} {
		f.Add(path)
	}
	allowed := regexp.MustCompile(`^(/([a-z_]+|\{(id|name|other)\}))+$`)
	f.Fuzz(func(t *testing.T, path string) {
		route := routeOf(path)
		if !allowed.MatchString(route) || strings.Count(route, "/") > 4 {
			t.Errorf("routeOf(%q) = %q", path, route)
		}
		if again := routeOf("/containers/" + strings.ReplaceAll(path, "/", "") + "Q/json"); again != "/containers/{id}/json" {
			t.Errorf("an id made the route %q", again)
		}
	})
}
