package proxy

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/origin"
	"berth/internal/session"
)

// domain gives the sessions names below ses.example.
func domain(o *Options) {
	o.Origins = origin.New(origin.Options{Domain: "ses.example", Public: &url.URL{Scheme: "http", Host: "berth.example"}, Listen: 80})
}

func TestOwnOriginHasTheServersPathsAtItsRoot(t *testing.T) {
	t.Parallel()
	var got *http.Request
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		h := w.Header()
		h.Set("Location", "/next")
		h.Add("Set-Cookie", "a=1; Path=/app; Domain=ses.example")
		h.Add("Set-Cookie", "__Host-berth-one=stolen; Path=/; Secure")
		h.Set("Content-Security-Policy", "default-src 'self'")
		h.Set("Cross-Origin-Opener-Policy", "unsafe-none")
		h.Set("Access-Control-Allow-Credentials", "true")
		w.WriteHeader(http.StatusFound)
	}, domain)
	r := w.request(t, http.MethodGet, "", nil)
	r.URL.Path, r.URL.RawPath = "/a/b/c", "/a%2Fb/c"
	r.Host = "ses-one.ses.example"
	r.Header.Set("Cookie", "__Host-berth-one=secret; theirs=1")
	a := w.do(t, r)
	if got == nil || got.RequestURI != "/a%2Fb/c" || got.Header.Get("X-Forwarded-Prefix") != "" || got.Header.Get("Cookie") != "theirs=1" {
		t.Fatalf("the server got %+v", got)
	}
	a.header.Del("Date")
	a.header.Del("X-Request-Id")
	want := http.Header{
		"Location": {"/next"}, "Set-Cookie": {"a=1; Path=/app"}, "Content-Length": {"0"},
		"Content-Security-Policy":      {"default-src 'self'", "frame-ancestors 'self'"},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
	}
	if d := cmp.Diff(want, a.header); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
}

// An ID that is no label of a host name has one that is derived from it, for as long as the session is there.
func TestDerivedLabelLeadsToItsSession(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, domain)
	other := w.route()
	other.ID = "under_score-"
	w.table.Set(other)
	r := w.request(t, http.MethodGet, "", nil)
	r.URL.Path, r.Host = "/", origin.Label(other.ID)+".ses.example"
	if a := w.do(t, r); a.status != http.StatusNoContent {
		t.Errorf("got %+v", a)
	}
	w.table.Remove(other.ID)
	w.do(t, r).mustBe(t, http.StatusUnauthorized, session.CodeUnauthorized, "after its removal")
}

// Nobody finds out by names which sessions there are.
func TestUnknownNameIsAnsweredAsAWrongToken(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") }, domain)
	ask := func(host string) answer {
		r := w.request(t, http.MethodGet, "", nil)
		r.URL.Path, r.Host = "/", host
		r.Header.Set("Authorization", "Bearer wrong")
		a := w.do(t, r)
		a.header.Del("Date")
		a.body = ""
		a.header.Del("X-Request-Id")
		return a
	}
	want := ask("ses-one.ses.example")
	if want.status != http.StatusUnauthorized {
		t.Fatalf("a wrong token: got %+v", want)
	}
	for _, host := range []string{"ses-two.ses.example", "no_label.ses.example", "id--aaaa.ses.example", "-.ses.example"} {
		if d := cmp.Diff(want, ask(host), cmp.AllowUnexported(answer{})); d != "" {
			t.Errorf("%s differs from a wrong token (-wrong +it):\n%s", host, d)
		}
	}
}

func TestForeignHostIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") }, domain)
	for _, host := range []string{"evil.example", "ses.example", "a.b.ses.example", "ses-one.ses.example:8443", "ses-one.localhost"} {
		r := w.request(t, http.MethodGet, "/", nil)
		r.Host = host
		w.do(t, r).mustBe(t, http.StatusMisdirectedRequest, session.CodeMisdirected, host)
	}
}

// A page of an agent must not run on the origin of the API: browsers are sent to the session's own, programs are not.
func TestBrowserLeavesThePathForTheSessionsOrigin(t *testing.T) {
	t.Parallel()
	asked := 0
	w := setup(t, func(http.ResponseWriter, *http.Request) { asked++ }, domain)
	for path, want := range map[string]string{
		"":                            "http://ses-one.ses.example/",
		"/a%2Fb?x=1&auth_token=s&y=2": "http://ses-one.ses.example/a%2Fb?x=1&y=2",
	} {
		r := w.request(t, http.MethodGet, path, nil)
		r.Header.Del("Authorization")
		r.Header.Set("Accept", "text/html")
		a := w.do(t, r)
		if a.status != http.StatusTemporaryRedirect || a.header.Get("Location") != want || a.header.Get("Cache-Control") != "no-store" ||
			!slices.Equal(a.header["Content-Security-Policy"], []string{"sandbox"}) {
			t.Errorf("%q: got %+v, want a redirect to %s", path, a, want)
		}
	}
	if asked != 0 {
		t.Errorf("the server was asked %d times", asked)
	}
	if a := w.get(t, "/"); a.status != http.StatusOK {
		t.Errorf("a program: got %+v", a)
	}
	bare := setup(t, func(http.ResponseWriter, *http.Request) { asked++ }, func(o *Options) { o.Origins = nil })
	r := bare.request(t, http.MethodGet, "/", nil)
	r.Header.Set("Accept", "text/html")
	bare.do(t, r).mustBe(t, http.StatusForbidden, session.CodeForbidden, "a browser where sessions have no origins")
}

// A server cannot shed the sandbox with an interim response, after which ReverseProxy clears the header.
func TestInterimResponseDoesNotLiftTheSandbox(t *testing.T) {
	t.Parallel()
	w := newScripted(t, says("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).front(t)
	if a := w.get(t, "/"); a.status != http.StatusOK || !slices.Equal(a.header["Content-Security-Policy"], []string{"sandbox"}) {
		t.Errorf("got %+v", a)
	}
}

func TestWorkerScripts(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "max-age=9999") })
	script := func(r *http.Request) *http.Request {
		r.Header.Set("Service-Worker", "script")
		r.Header.Set("Sec-Fetch-Dest", "serviceworker")
		r.Header.Set("Sec-Fetch-Mode", "same-origin")
		r.Header.Set("Accept", "*/*")
		return r
	}
	if a := w.do(t, script(w.navigation(t, "/sw.js"))); a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("at its own origin: got %+v", a)
	}
	w.do(t, script(w.request(t, http.MethodGet, "/sw.js", nil))).mustBe(t, http.StatusForbidden, session.CodeForbidden, "by path")
}

// A browser must not ask for a password, which it would keep.
func TestChallengeFitsTheClient(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) {})
	for mode, want := range map[string][]string{
		"navigate": nil,
		"cors":     nil,
		"":         {`Bearer realm="berth"`, `Basic realm="berth", charset="UTF-8"`},
	} {
		r := w.navigation(t, "/")
		r.Header.Del("Authorization")
		if mode == "" {
			r.Header.Del("Sec-Fetch-Mode")
			r.Header.Set("Accept", "*/*")
		} else {
			r.Header.Set("Sec-Fetch-Mode", mode)
		}
		if a := w.do(t, r); a.status != http.StatusUnauthorized || !slices.Equal(a.header["Www-Authenticate"], want) {
			t.Errorf("mode %q: got %d %q, want %q", mode, a.status, a.header["Www-Authenticate"], want)
		}
	}
}

// onePort gives the fixture's session the port that the fixture's server listens on.
type onePort struct{ id session.ID }

func (p *onePort) At(uint16) (session.ID, bool) { return p.id, true }

func TestPortOfASessionIsItsOrigin(t *testing.T) {
	t.Parallel()
	ports := &onePort{testID}
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, domain, func(o *Options) { o.Ports = ports })
	_, port, _ := net.SplitHostPort(w.front.Listener.Addr().String())
	at := func(host string) *http.Request {
		r := w.request(t, http.MethodGet, "", nil)
		r.URL.Path, r.Host = "/x", host
		return r
	}
	if a := w.do(t, at("berth.example:"+port)); a.status != http.StatusNoContent || len(a.header["Content-Security-Policy"]) != 1 ||
		a.header.Get("Content-Security-Policy") != "frame-ancestors 'self'" {
		t.Errorf("got %+v", a)
	}
	for _, host := range []string{"evil.example:" + port, "berth.example", "ses-one.ses.example"} {
		w.do(t, at(host)).mustBe(t, http.StatusMisdirectedRequest, session.CodeMisdirected, host)
	}
	worker := at("berth.example:" + port)
	worker.Header.Set("Service-Worker", "script")
	w.do(t, worker).mustBe(t, http.StatusForbidden, session.CodeForbidden, "a service worker, which may outlive the session")
	ports.id = ""
	w.do(t, at("berth.example:"+port)).mustBe(t, http.StatusUnauthorized, session.CodeUnauthorized, "a connection to a port that was given back")
}
