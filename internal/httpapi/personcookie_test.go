package httpapi_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
)

const personCookie = "__Host-berth_person"

// ownPage are the headers of a request that a page of Berth's own origin sends.
func (w *fixture) ownPage(cookie string) []string {
	return []string{"Cookie", cookie, "Sec-Fetch-Site", "same-origin", "Origin", w.url}
}

// aliceSignsIn returns the cookie of alice's browser.
func (w *fixture) aliceSignsIn() string {
	w.t.Helper()
	got := w.callback()
	cookie, attributes, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	if !strings.HasPrefix(cookie, personCookie+"=") || attributes != " Path=/; Max-Age=28800; HttpOnly; Secure; SameSite=Lax" && attributes != " Path=/; Max-Age=28799; HttpOnly; Secure; SameSite=Lax" {
		w.t.Fatalf("got %d with the cookie %s; %s", got.status, cookie, attributes)
	}
	return cookie
}

func TestPersonsBrowserUsesTheAPIAsTheirOwn(t *testing.T) {
	t.Parallel()
	w := newSignInFixture(t, nil, nil)
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	cookie := w.aliceSignsIn()
	for path, want := range map[string]int{
		"/sessions/" + string(hers.ID): http.StatusOK, "/sessions/" + string(his.ID): http.StatusNotFound, "/tokens": http.StatusForbidden,
	} {
		if got := w.call(http.MethodGet, path, "", "", w.ownPage(cookie)...); got.status != want {
			t.Errorf("%s: got %d %s, want %d", path, got.status, got.body, want)
		}
	}
	made := w.call(http.MethodPost, "/sessions", "", "{}", w.ownPage(cookie)...)
	if s := decode[httpapi.NewSession](t, made); made.status != http.StatusCreated || s.Owner != "alice" {
		t.Errorf("create: got %d %s, want a session of hers", made.status, made.body)
	}
	if got := w.call(http.MethodGet, "/sessions", "a-wrong-token", "", w.ownPage(cookie)...); got.status != http.StatusUnauthorized {
		t.Errorf("beside a wrong token: got %d, want 401", got.status)
	}
	for name, bad := range map[string]string{"two": cookie + "; " + cookie, "changed": cookie + "A", "empty": personCookie + "="} {
		if got := w.call(http.MethodGet, "/sessions", "", "", w.ownPage(bad)...); got.status != http.StatusUnauthorized {
			t.Errorf("%s: got %d, want 401", name, got.status)
		}
	}
	w.Clock.Advance(access.PersonLife)
	if got := w.call(http.MethodGet, "/sessions", "", "", w.ownPage(cookie)...); got.status != http.StatusUnauthorized {
		t.Errorf("expired: got %d, want 401", got.status)
	}
}

// A browser sends its cookies along with what pages of other origins ask for, those of sessions beside it included.
func TestPersonsCookieCountsInRequestsOfBerthsPagesOnly(t *testing.T) {
	t.Parallel()
	w := newFixtureWith(t, func(_ *fixture, o *httpapi.Options) { o.SignIn = provider{} })
	cookie := w.aliceSignsIn()
	for name, c := range map[string]struct {
		header []string
		counts bool
	}{
		"own page":                        {[]string{"Sec-Fetch-Site", "same-origin"}, true},
		"own page, named":                 {[]string{"Origin", w.url}, true},
		"own page, named twice over":      {[]string{"Sec-Fetch-Site", "same-origin", "Origin", w.url}, true},
		"a program":                       {nil, false},
		"page of another site":            {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		"page of another site, older":     {[]string{"Origin", "https://evil.example"}, false},
		"page next door":                  {[]string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}, false},
		"page next door, without origin":  {[]string{"Sec-Fetch-Site", "same-site"}, false},
		"sandboxed page":                  {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, false},
		"contradiction":                   {[]string{"Sec-Fetch-Site", "same-site", "Origin", w.url}, false},
		"another contradiction":           {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, false},
		"another scheme":                  {[]string{"Origin", strings.Replace(w.url, "http:", "https:", 1)}, false},
		"typed address":                   {[]string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false},
		"navigation from another site":    {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false},
		"form of another site, no origin": {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, false},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			body, want := "", http.StatusOK
			if method == http.MethodPost {
				body, want = "{}", http.StatusCreated
			}
			if !c.counts {
				want = http.StatusUnauthorized
			}
			if got := w.call(method, "/sessions", "", body, append(c.header, "Cookie", cookie)...); got.status != want {
				t.Errorf("%s, %s: got %d, want %d", name, method, got.status, want)
			}
		}
	}
}

func TestPersonSignsOutHereAndAtTheProvider(t *testing.T) {
	t.Parallel()
	w := newSignInFixture(t, nil, nil)
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	cookie := w.aliceSignsIn()
	ask := func(method string, header ...string) answer {
		r := httptest.NewRequestWithContext(t.Context(), method, w.url+httpapi.SignOutPath, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rw := httptest.NewRecorder()
		w.api.Handler().ServeHTTP(rw, r)
		return answer{rw.Code, rw.Header(), rw.Body.Bytes()}
	}
	page := ask(http.MethodGet)
	if page.status != http.StatusOK || !strings.Contains(string(page.body), `<form method="post">`) || page.header.Get("Content-Security-Policy") == "" {
		t.Errorf("the page: got %d %v", page.status, page.header)
	}
	for _, header := range [][]string{
		{"Cookie", cookie}, {"Cookie", cookie, "Origin", "https://evil.example"}, {"Cookie", cookie, "Sec-Fetch-Site", "cross-site"},
	} {
		if got := ask(http.MethodPost, header...); got.status != http.StatusForbidden {
			t.Errorf("%v: got %d, want it refused", header, got.status)
		}
	}

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/sessions/"+string(hers.ID)+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Cookie", cookie)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	stream, err := http.DefaultClient.Do(r)
	if err != nil || stream.StatusCode != http.StatusOK {
		t.Fatalf("events: got %v, %v", stream, err)
	}
	defer stream.Body.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
			_ = lines.Text()
		}
	}()

	got := ask(http.MethodPost, w.ownPage(cookie)...)
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "https://login.example/end" ||
		got.header.Get("Set-Cookie") != personCookie+"=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	select {
	case <-ended:
	case <-time.After(time.Second):
		t.Error("the stream goes on a second after the sign-out")
	}
	if got := w.call(http.MethodGet, "/sessions", "", "", w.ownPage(cookie)...); got.status != http.StatusUnauthorized {
		t.Errorf("a copy of the cookie: got %d, want 401", got.status)
	}
}

// Who is signed in at Berth's own origin opens a session without the provider. The browser says that its user sees it.
func TestSignedInPersonOpensSessionAtOnce(t *testing.T) {
	t.Parallel()
	w := newOpeningFixture(t, nil)
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	cookie := w.aliceSignsIn()
	open := func(path string, header ...string) answer {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Cookie", cookie)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rw := httptest.NewRecorder()
		w.api.Handler().ServeHTTP(rw, r)
		return answer{rw.Code, rw.Header(), rw.Body.Bytes()}
	}
	navigates := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	path := openAt(homeOf(hers.ID), binding)
	if got := open(path, navigates...); got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), homeOf(hers.ID)+".berth/link/") ||
		got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	if got := open(openAt(homeOf(his.ID), binding), navigates...); got.status != http.StatusNotFound || !strings.Contains(string(got.body), "signed in as alice") {
		t.Errorf("another's: got %d %s, want 404 and who she is", got.status, got.body)
	}
	if got := open("/auth/oidc/login?return_to="+string(hers.ID), navigates...); got.status != http.StatusSeeOther || got.header.Get("Location") != homeOf(hers.ID)+".berth/account" {
		t.Errorf("by its ID: got %d %v", got.status, got.header)
	}
	for name, header := range map[string][]string{
		"a frame":   {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		"a fetch":   {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty"},
		"a program": {},
	} {
		if got := open(path, header...); got.header.Get("Returns-To") == "" || got.header.Get("Location") != "" {
			t.Errorf("%s: got %d %v, want it to go to the provider", name, got.status, got.header)
		}
	}
}
