package policy

import (
	"testing"
	"time"

	"berth/internal/session"
)

func TestBrowserLandsOnWorkspacePage(t *testing.T) {
	t.Parallel()
	const page = "/L3dvcmtzcGFjZQ/session" // as OpenCode names /workspace
	landing := func(r *session.Route) {
		r.Profile = &session.Profile{Landing: "/{workspace}/session", Volumes: []session.Volume{{Name: "state", Path: "/state"}, {Name: "workspace", Path: "/workspace"}}}
	}
	browser := Header{"Accept": {"text/html,*/*"}, "Sec-Fetch-Mode": {"navigate"}}
	for name, c := range map[string]struct {
		route  *Route
		change func(q *Request)
		want   Verdict
	}{
		"browser":         {testRoute(landing), func(*Request) {}, Verdict{Action: Redirect, Location: page}},
		"older browser":   {testRoute(landing), func(q *Request) { q.Header = Header{"Accept": {"text/html"}} }, Verdict{Action: Redirect, Location: page}},
		"query":           {testRoute(landing), func(q *Request) { q.Target.Query = "a=1&auth_token=secret" }, Verdict{Action: Redirect, Location: page + "?a=1"}},
		"program":         {testRoute(landing), func(q *Request) { q.Header = Header{"Accept": {"*/*"}} }, Verdict{Action: Forward}},
		"page's own code": {testRoute(landing), func(q *Request) { q.Header = Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {"cors"}} }, Verdict{Action: Forward}},
		"another method":  {testRoute(landing), func(q *Request) { q.Method = "HEAD" }, Verdict{Action: Forward}},
		"another page":    {testRoute(landing), func(q *Request) { q.Place.Path = page }, Verdict{Action: Forward}},
		"two slashes":     {testRoute(landing), func(q *Request) { q.Place.Path = "//" }, Verdict{Action: Forward}},
		"by path":         {testRoute(landing), func(q *Request) { q.Place.Prefix = "/s/ses-one" }, Verdict{Action: Forward}},
		"another server":  {testRoute(), func(*Request) {}, Verdict{Action: Forward}},
	} {
		q := testRequest("GET", "/", browser)
		q.Place.Prefix = ""
		c.change(q)
		if got := c.route.Judge(q, holder, Rules{MaxBody: 10}, time.Now()); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
