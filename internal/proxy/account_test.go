package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"berth/internal/origin"
	"berth/internal/session"
)

const openURL = "https://berth.example/auth/oidc/open"

func withPeople(t *testing.T) (*fixture, *fakeSignIns) {
	t.Helper()
	signIns := &fakeSignIns{}
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
		o.SignIns, o.SignInLife, o.OpenURL = signIns, time.Hour, openURL
	})
	signIns.w = w
	return w, signIns
}

// begins has a browser begin a person's sign-in, and returns its cookie and what the way over the provider gets.
func (w *fixture) begins(t *testing.T, host, to string) (cookie string, query url.Values) {
	t.Helper()
	r := w.browses(t, http.MethodGet, origin.Account+"?to="+url.QueryEscape(to), "", typed...)
	r.Host = host
	a := w.do(t, r)
	location, err := url.Parse(a.header.Get("Location"))
	cookie, attributes, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	if err != nil || a.status != http.StatusSeeOther || !strings.HasPrefix(location.String(), openURL+"?") ||
		!strings.HasPrefix(cookie, "__Host-berth_begun-") || attributes != " Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax" {
		t.Fatalf("%s: got %+v, %v", host, a, err)
	}
	return cookie, location.Query()
}

// What comes back from the identity provider is in the browser's history and in logs on the way.
func TestAccountSignsInTheBrowserThatHasBegun(t *testing.T) {
	t.Parallel()
	w, signIns := withPeople(t)
	host := string(testID) + ".localhost"
	cookie, query := w.begins(t, host, "/work/session?x=1")
	stolen, _ := w.begins(t, host, "/")
	if query.Get("at") != ownOrigin+"/" || strings.Contains(cookie, query.Get("binding")) || len(query) != 2 {
		t.Errorf("the way over the provider has %v", query)
	}
	code := signIns.linkFor(t, query.Get("binding"))
	form := url.Values{"code": {code.Reveal()}}.Encode()
	for name, cookies := range map[string]string{
		"no cookie": "", "another browser's": stolen, "two cookies": cookie + "; " + stolen, "not base64": cookie + "!", "the digest": strings.SplitN(cookie, "=", 2)[0] + "=" + query.Get("binding"),
	} {
		w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form, "Cookie", cookies)).mustBe(t, http.StatusUnauthorized, session.CodeUnauthorized, name)
	}
	a := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form, "Cookie", cookie))
	set := strings.Join(a.header["Set-Cookie"], "\n")
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/work/session?x=1" || !strings.Contains(set, "__Host-berth-ses-one=") ||
		!strings.Contains(set, "__Host-berth_begun-") || !strings.Contains(set, "Max-Age=0") {
		t.Errorf("got %+v, want it signed in, at the page that it wanted, and the cookie of the way removed", a)
	}
}

func TestAccountReturnsToOwnPathsOnly(t *testing.T) {
	t.Parallel()
	w, signIns := withPeople(t)
	for _, to := range []string{"//evil.example/", `/\evil.example`, "https://evil.example", "/" + strings.Repeat("a", maxReturn), "/.berth/sign-out", ""} {
		cookie, query := w.begins(t, string(testID)+".localhost", to)
		form := url.Values{"code": {signIns.linkFor(t, query.Get("binding")).Reveal()}, "to": {"/from-the-form"}}.Encode()
		if a := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form, "Cookie", cookie)); a.header.Get("Location") != "/" {
			t.Errorf("%q: got %d to %q, want /", to, a.status, a.header.Get("Location"))
		}
	}
}

// The page must not tell which sessions there are, nor an ID that the host's name does not tell.
func TestAccountIsOfferedAtAnySession(t *testing.T) {
	t.Parallel()
	w, _ := withPeople(t)
	odd := w.route()
	odd.ID = "ses_odd" // its name is derived from it
	w.table.Set(odd)
	for _, label := range []string{string(testID), "ses-none", origin.Label("ses_odd"), origin.Label("ses_none")} {
		r := w.browses(t, http.MethodGet, "/x?y", "", typed...)
		r.Host = label + ".localhost"
		a := w.do(t, r)
		if a.status != http.StatusUnauthorized || !strings.Contains(a.body, `<a href="/.berth/account?to=%2Fx%3Fy"`) || strings.Contains(a.body, "ses_odd") {
			t.Errorf("%s: got %d %s", label, a.status, a.body)
		}
		cookie, query := w.begins(t, label+".localhost", "/x?y")
		if strings.Contains(cookie, "ses") || query.Get("at") != "http://"+label+".localhost/" {
			t.Errorf("%s: got %s and %v", label, cookie, query)
		}
	}
}

func TestAccountNeedsASecureAddressAndPeople(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, func(http.ResponseWriter, *http.Request) { t.Error("the session's server was asked") })
	w.do(t, w.browses(t, http.MethodGet, origin.Account, "", typed...)).mustBe(t, http.StatusNotFound, session.CodeNotFound, "nobody signs in")
	w = setup(t, func(http.ResponseWriter, *http.Request) {}, domain, func(o *Options) { o.SignIns, o.OpenURL = &fakeSignIns{}, openURL })
	r := w.browses(t, http.MethodGet, origin.Account, "")
	r.Host = "ses-one.ses.example"
	w.do(t, r).mustBe(t, http.StatusForbidden, session.CodeForbidden, "plain HTTP")
}

func TestSessionAtAnAddress(t *testing.T) {
	t.Parallel()
	ports := &onePort{testID}
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, domain, func(o *Options) { o.Ports = ports })
	for address, want := range map[string]session.ID{
		"https://ses-a.ses.example/": "ses-a", "https://berth.example:20001/": testID, "https://berth.example/": "", "https://evil.example/": "", "https://berth.example:x/": "",
	} {
		u, err := url.Parse(address)
		if err != nil {
			u = &url.URL{Host: "berth.example:x"}
		}
		if got := w.proxy.SessionAt(u); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
