package proxy

import (
	"net/http"
	"testing"

	"berth/internal/session"
)

func TestNavigationToRootIsRedirectedToLandingPage(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) })
	route := w.route()
	route.Profile = &session.Profile{Landing: "/{workspace}/session", Volumes: []session.Volume{{Name: session.WorkspaceVolume, Path: "/workspace"}}}
	w.table.Set(route)

	got := w.do(t, w.navigation(t, "/?auth_token=x&a=1"))
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/L3dvcmtzcGFjZQ/session?a=1" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v, want a redirect to the workspace's page that is not kept", got.status, got.header)
	}
	if got := w.do(t, w.navigation(t, "/L3dvcmtzcGFjZQ/session?a=1")); got.status != http.StatusOK || got.body != "/L3dvcmtzcGFjZQ/session" {
		t.Errorf("the page: got %d %q", got.status, got.body)
	}
	if got := w.get(t, "/"); got.status != http.StatusOK || got.body != "/" {
		t.Errorf("a program: got %d %q, want the server's own answer", got.status, got.body)
	}
}
