package proxy

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/session"
)

// fakeSignIns records sign-ins in the route of a fixture, as the manager does.
type fakeSignIns struct {
	w  *fixture
	mu sync.Mutex
	s  session.Session
}

func (f *fakeSignIns) change(id session.ID, change func(session.Session) (session.Session, bool)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != testID {
		return session.NotFound(id)
	}
	next, ok := change(f.s)
	if !ok {
		return session.Errorf(session.CodeUnauthorized, "no such link")
	}
	f.s = next
	r := f.w.route()
	r.Links, r.SignIns = next.Links, next.SignIns
	f.w.table.Set(r)
	return nil
}

func (f *fakeSignIns) Redeem(_ context.Context, id session.ID, code, binding string, in session.SignIn) error {
	return f.change(id, func(s session.Session) (session.Session, bool) {
		now := time.Now()
		s, used, ok := s.Redeemed(code, binding, now)
		in.ExpiresAt = now.Add(time.Hour)
		if used.Renews != "" {
			s, renewed := s.Renewed(used.Renews, in.Digest, in.ExpiresAt, now)
			return s, ok && renewed && in.Device
		}
		in.Browser = cmp.Or(used.Name, in.Browser)
		return s.SignedIn(in, now), ok && used.Pairing || ok && !in.Device
	})
}

func (f *fakeSignIns) NewPairing(_ context.Context, id session.ID, code session.Link) error {
	return f.change(id, func(s session.Session) (session.Session, bool) {
		code.Pairing, code.ExpiresAt = true, time.Now().Add(PairingSeconds*time.Second)
		return s.Linked(code, time.Now()), true
	})
}

func (f *fakeSignIns) ConfirmDevice(_ context.Context, id session.ID, device, digest string) error {
	return f.change(id, func(s session.Session) (session.Session, bool) { return s.Confirmed(device, digest, time.Now()) })
}

func (f *fakeSignIns) SignIn(_ context.Context, id session.ID, _ string, in session.SignIn) error {
	return f.change(id, func(s session.Session) (session.Session, bool) {
		in.ExpiresAt = time.Now().Add(time.Hour)
		return s.SignedIn(in, time.Now()), true
	})
}

func (f *fakeSignIns) SignOut(_ context.Context, id session.ID, signIn string) error {
	return f.change(id, func(s session.Session) (session.Session, bool) { return s.SignedOut(signIn, time.Now()) })
}

// link makes a link for any browser.
func (f *fakeSignIns) link(t *testing.T) session.Secret { return f.linkFor(t, "") }

// linkFor makes a link for the browser with this binding.
func (f *fakeSignIns) linkFor(t *testing.T, binding string) session.Secret {
	t.Helper()
	code, digest := f.w.proxy.access.NewCode()
	err := f.change(testID, func(s session.Session) (session.Session, bool) {
		return s.Linked(session.Link{Digest: digest, Binding: binding, ExpiresAt: time.Now().Add(time.Minute)}, time.Now()), true
	})
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// signingIn is a fixture in which browsers can sign in.
func signingIn(t *testing.T, server http.HandlerFunc, change ...func(*Options)) (*fixture, *fakeSignIns) {
	t.Helper()
	signIns := &fakeSignIns{}
	w := setup(t, server, append(change, func(o *Options) { o.SignIns, o.SignInLife = signIns, time.Hour })...)
	signIns.w = w
	return w, signIns
}

const ownOrigin = "http://" + string(testID) + ".localhost"

// browses makes a browser's request at the session's own origin, without a credential.
func (w *fixture) browses(t *testing.T, method, path, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.front.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = string(testID) + ".localhost"
	if method == http.MethodPost {
		r.Header.Set("Origin", ownOrigin)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// signedIn signs a browser in and returns its cookie, name and value.
func (w *fixture) signedIn(t *testing.T, form string) string {
	t.Helper()
	a := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form))
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	if a.status != http.StatusSeeOther || !strings.HasPrefix(cookie, "__Host-berth-ses-one=") {
		t.Fatalf("got %+v, want a cookie and a redirect", a)
	}
	return cookie
}

var (
	fromOwnPage = []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}
	typed       = []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}
)

func TestLinkSignsOneBrowserInOnce(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			t.Errorf("the server got the cookies %q", r.Header["Cookie"])
		}
	})
	code := signIns.link(t)
	shown := w.do(t, w.browses(t, http.MethodGet, origin.Links+code.Reveal(), "", typed...))
	if shown.status != http.StatusOK || !strings.Contains(shown.body, code.Reveal()) || shown.header.Get("Referrer-Policy") != "strict-origin" ||
		shown.header.Get("Cache-Control") != "no-store" || !strings.Contains(shown.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page of the link: got %+v", shown)
	}
	form := url.Values{"code": {code.Reveal()}}.Encode()
	a := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form))
	set := a.header.Get("Set-Cookie")
	for _, attribute := range []string{"Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age=3600"} {
		if !strings.Contains(set, attribute) {
			t.Errorf("the cookie %q lacks %s", set, attribute)
		}
	}
	if strings.Contains(set, "Domain") || a.header.Get("Location") != "/" || a.status != http.StatusSeeOther {
		t.Errorf("got %+v", a)
	}
	cookie, _, _ := strings.Cut(set, ";")
	for _, header := range [][]string{fromOwnPage, typed} {
		r := w.browses(t, http.MethodGet, "/x", "", append(header, "Cookie", cookie, "Authorization", "Bearer of-the-application")...)
		if a := w.do(t, r); a.status != http.StatusOK {
			t.Errorf("%v: got %+v, want it let in", header, a)
		}
	}
	w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form)).mustBe(t, http.StatusUnauthorized, session.CodeUnauthorized, "the link again")
}

func TestTokenSignsIn(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, func(http.ResponseWriter, *http.Request) {})
	for to, want := range map[string]string{
		"/a?b=1": "/a?b=1", "": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example": "/", "/.berth/sign-out": "/", "/a\r\nb": "/",
	} {
		form := url.Values{"token": {testToken.Reveal()}, "to": {to}}.Encode()
		if a := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form)); a.status != http.StatusSeeOther || a.header.Get("Location") != want {
			t.Errorf("to %q: got %d to %q, want %q", to, a.status, a.header.Get("Location"), want)
		}
	}
	wrong := w.browses(t, http.MethodPost, origin.SignIn, "to=/deep?x=1&token=wrong", "Accept", "text/html")
	if a := w.do(t, wrong); a.status != http.StatusUnauthorized || !strings.Contains(a.body, `role="alert"`) || !strings.Contains(a.body, `name="to" value="/deep?x=1"`) || a.header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: got %+v", a)
	}
}

// Each sign-in is a line of the audit trail and a write to the store, which the holder of a token must not be able to flood.
func TestSignInsWithATokenAreBounded(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, func(http.ResponseWriter, *http.Request) {})
	refused := 0
	for range 30 {
		if a := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, "token="+testToken.Reveal())); a.status == http.StatusTooManyRequests {
			refused++
		}
	}
	if n := len(signIns.s.SignIns); n > 15 || refused != 30-n {
		t.Errorf("%d sign-ins, %d refused", n, refused)
	}
}

// A cookie is sent with whatever pages next door ask for. Only the session's own pages and navigations of the user count.
func TestCookieAdmitsOwnPagesAndNavigationsOnly(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, func(http.ResponseWriter, *http.Request) {})
	cookie := w.signedIn(t, "token="+testToken.Reveal())
	for name, c := range map[string]struct {
		method string
		header []string
		want   int
	}{
		"own page":                  {http.MethodGet, fromOwnPage, 200},
		"own page posts":            {http.MethodPost, fromOwnPage, 200},
		"navigation from elsewhere": {http.MethodGet, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		"frame elsewhere":           {http.MethodGet, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 401},
		"image next door":           {http.MethodGet, []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 401},
		"fetch next door":           {http.MethodGet, []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Origin", "http://ses-two.localhost"}, 401},
		"form next door":            {http.MethodPost, []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Origin", "http://ses-two.localhost"}, 401},
		"opaque origin":             {http.MethodGet, []string{"Origin", "null"}, 401},
		"another port":              {http.MethodGet, []string{"Sec-Fetch-Site", "same-site", "Origin", ownOrigin + ":81"}, 401},
		"nothing said":              {http.MethodGet, nil, 401},
	} {
		r := w.browses(t, c.method, "/x", "", append(c.header, "Cookie", "a=b; "+cookie)...)
		if a := w.do(t, r); a.status != c.want {
			t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, c.want)
		}
	}
	for _, path := range []string{"/x", origin.SignIn} { // which a page next door can open, or put into a frame
		r := w.browses(t, http.MethodGet, path, "", "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe",
			"Accept", "text/html", "Cookie", cookie)
		if a := w.do(t, r); !strings.Contains(a.body, "<form") || len(a.header["Set-Cookie"]) > 0 {
			t.Errorf("%s in a frame next door: got %d %q, want the sign-in page and no change of cookies", path, a.status, a.header["Set-Cookie"])
		}
	}
	tossed := "__Host-berth-ses-one=tossed; "
	if a := w.do(t, w.browses(t, http.MethodGet, "/x", "", append(fromOwnPage, "Cookie", tossed+cookie)...)); a.status != http.StatusOK {
		t.Errorf("beside a tossed cookie: got %d", a.status)
	}
	upgrade := append([]string{"Origin", "http://ses-two.localhost", "Upgrade", "websocket", "Connection", "Upgrade"}, "Cookie", cookie)
	if a := w.do(t, w.browses(t, http.MethodGet, "/x", "", upgrade...)); a.status != http.StatusUnauthorized {
		t.Errorf("a WebSocket of a page next door: got %d", a.status)
	}
	byPath := w.request(t, http.MethodGet, "/x", nil)
	byPath.Header.Del("Authorization")
	byPath.Header.Set("Cookie", cookie)
	byPath.Header.Set("Sec-Fetch-Site", "same-origin")
	if a := w.do(t, byPath); a.status != http.StatusUnauthorized {
		t.Errorf("by path: got %d", a.status)
	}
}

// Without a valid cookie a browser gets the sign-in page, once cleared of what did not let it in: nothing redirects it in a circle.
func TestNavigationWithoutValidCookieGetsTheSignInPage(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") })
	stale := "__Host-berth-ses-one=stale; __Host-berth-ses-one=again; __Host-berth-ses-two=foreign; theirs=1"
	a := w.do(t, w.browses(t, http.MethodGet, "/a%20b?x=<1>", "", append(typed, "Cookie", stale)...))
	if a.status != http.StatusUnauthorized || !strings.Contains(a.body, `name="token"`) || !strings.Contains(a.body, `value="/a%20b?x=&lt;1&gt;"`) ||
		len(a.header["Www-Authenticate"]) != 0 || len(a.header["Location"]) != 0 {
		t.Errorf("got %+v", a)
	}
	cleared := strings.Join(a.header["Set-Cookie"], "\n")
	for _, name := range []string{"ses-one", "ses-two"} {
		if strings.Count(cleared, "__Host-berth-"+name+"=; Path=/; Max-Age=0") != 1 {
			t.Errorf("cleared: %q", cleared)
		}
	}
	if strings.Contains(cleared, "theirs") {
		t.Errorf("a cookie of the session's own pages is cleared: %q", cleared)
	}
	unknown := w.browses(t, http.MethodGet, "/a%20b?x=<1>", "", append(typed, "Cookie", stale)...)
	unknown.Host = "ses-nobody.localhost"
	b := w.do(t, unknown)
	if b.status != a.status || b.body != a.body || len(b.header) != len(a.header) {
		t.Errorf("an unknown session differs: got %+v, want %+v", b, a)
	}
}

func TestFormOfAnotherOriginSignsNobodyInOrOut(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, func(http.ResponseWriter, *http.Request) {})
	cookie := w.signedIn(t, "token="+testToken.Reveal())
	for _, from := range []string{"http://ses-two.localhost", "null", ""} {
		for _, path := range []string{origin.SignIn, origin.SignOut} {
			r := w.browses(t, http.MethodPost, path, "code="+signIns.link(t).Reveal(), "Cookie", cookie, "Origin", from)
			if from == "" {
				r.Header.Del("Origin")
			}
			w.do(t, r).mustBe(t, http.StatusForbidden, session.CodeForbidden, path+" from "+from)
		}
	}
	if n := len(signIns.s.SignIns); n != 1 {
		t.Errorf("%d sign-ins, want 1", n)
	}
}

func TestSignInNeedsASecureAddress(t *testing.T) {
	t.Parallel()
	signIns := &fakeSignIns{}
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, domain, func(o *Options) { o.SignIns, o.SignInLife = signIns, time.Hour })
	signIns.w = w
	r := w.browses(t, http.MethodPost, origin.SignIn, "token="+testToken.Reveal(), "Origin", "http://ses-one.ses.example")
	r.Host = "ses-one.ses.example"
	a := w.do(t, r)
	a.mustBe(t, http.StatusForbidden, session.CodeForbidden, "by plain HTTP")
	if !strings.Contains(a.body, "TRUSTED_PROXIES") || a.header.Get("Set-Cookie") != "" {
		t.Errorf("got %+v", a)
	}
	nav := w.browses(t, http.MethodGet, "/", "", "Accept", "text/html")
	nav.Host = "ses-one.ses.example"
	if a := w.do(t, nav); a.status != http.StatusUnauthorized || strings.Contains(a.body, "<form") {
		t.Errorf("the page: got %+v", a)
	}
}

// A token in the address signs the browser in and leaves the address.
func TestTokenInAddressIsExchanged(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") })
	query := "?x=1&auth_token=" + base64.StdEncoding.EncodeToString([]byte("opencode:"+testToken.Reveal()))
	a := w.do(t, w.browses(t, http.MethodGet, "/a"+query, "", typed...))
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/a?x=1" || !strings.HasPrefix(a.header.Get("Set-Cookie"), "__Host-berth-") {
		t.Errorf("got %+v", a)
	}
}

func TestSignOutEndsStreams(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: one\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mine, others := w.signedIn(t, "token="+testToken.Reveal()), w.signedIn(t, "token="+testToken.Reveal())
	open := func(cookie string) *bufio.Reader {
		res, err := w.client.Do(w.browses(t, http.MethodGet, "/event", "", append(fromOwnPage, "Cookie", cookie, "Accept", "text/event-stream")...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		stream := bufio.NewReader(res.Body)
		if line, err := stream.ReadString('\n'); err != nil || line != "data: one\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = stream.ReadString('\n')
		return stream
	}
	stream, other := open(mine), open(others)
	a := w.do(t, w.browses(t, http.MethodPost, origin.SignOut, "", "Cookie", mine))
	if a.status != http.StatusSeeOther || !strings.Contains(a.header.Get("Clear-Site-Data"), "storage") {
		t.Errorf("got %+v", a)
	}
	if _, err := stream.ReadByte(); err == nil {
		t.Error("the stream goes on")
	}
	if a := w.do(t, w.browses(t, http.MethodGet, "/x", "", append(fromOwnPage, "Cookie", mine)...)); a.status != http.StatusUnauthorized {
		t.Errorf("the cookie after the sign-out: got %d", a.status)
	}
	w.table.Set(func() session.Route { // a rotation
		r := w.route()
		r.Token.Digest = "another"
		return r
	}())
	if _, err := other.ReadByte(); err == nil {
		t.Error("another browser's stream outlives the rotation")
	}
}

// Nothing below /.berth/ of a session's origin reaches its server, which could show a sign-in page of its own there.
func TestOwnPathsAreBerths(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") })
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		r := w.browses(t, method, origin.Pages+"other", "", "Authorization", "Bearer "+testToken.Reveal())
		w.do(t, r).mustBe(t, http.StatusNotFound, session.CodeNotFound, method)
	}
}

// Guesses of codes, cookies and tokens find nothing, and are limited by their address.
func TestGuessesOfSecretsAreLimited(t *testing.T) {
	t.Parallel()
	signIns := &fakeSignIns{}
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") }, func(o *Options) {
		o.SignIns = signIns
		o.Access = admitting(t, access.Options{Throttle: access.NewThrottle()})
	})
	signIns.w = w
	statuses := map[int]int{}
	for i := range 100 {
		guess := string(access.NewToken(32))
		var r *http.Request
		switch i % 3 {
		case 0:
			r = w.browses(t, http.MethodPost, origin.SignIn, "code="+guess)
		case 1:
			r = w.browses(t, http.MethodPost, origin.SignIn, "token="+guess)
		case 2:
			r = w.browses(t, http.MethodGet, "/x", "", append(fromOwnPage, "Cookie", "__Host-berth-ses-one="+guess)...)
		}
		statuses[w.do(t, r).status]++
	}
	if statuses[http.StatusUnauthorized]+statuses[http.StatusTooManyRequests] != 100 || statuses[http.StatusTooManyRequests] < 80 {
		t.Errorf("got %v, want all refused, most of them by the limit", statuses)
	}
}
