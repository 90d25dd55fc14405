package httpapi_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"berth/internal/httpapi"
	"berth/internal/origin"
	"berth/internal/session"
)

func TestLinkIsMadeByWhoMayOpenTheSession(t *testing.T) {
	t.Parallel()
	w := newFixtureWith(t, func(_ *fixture, o *httpapi.Options) {
		o.Addresses = origin.New(origin.Options{Loopback: true, Listen: 8080}).Of
	})
	made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, `{}`))
	other := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, `{}`))
	path := "/sessions/" + string(made.ID) + "/links"
	for token, want := range map[string]int{adminToken: http.StatusCreated, made.Token: http.StatusCreated, other.Token: http.StatusUnauthorized, "": http.StatusUnauthorized} {
		a := w.call(http.MethodPost, path+"?qr=true", token, "")
		if a.status != want {
			t.Fatalf("got %d %s, want %d", a.status, a.body, want)
		}
		if want != http.StatusCreated {
			continue
		}
		link := decode[httpapi.SignInLink](t, a)
		prefix := "http://" + string(made.ID) + ".localhost:8080/.berth/link/"
		picture, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(link.QR, "data:image/png;base64,"))
		if len(link.Links) != 1 || !strings.HasPrefix(link.Links[0].URL, prefix) || a.header.Get("Cache-Control") != "no-store" ||
			err != nil || !strings.HasPrefix(string(picture), "\x89PNG") {
			t.Errorf("got %+v, %v", link, err)
		}
		code := session.Secret(strings.TrimPrefix(link.Links[0].URL, prefix))
		stored, err := w.Get(t.Context(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok := stored.Redeemed(w.Keys.CodeDigest(code), "", w.Options.Now()); !ok {
			t.Errorf("the link's code is not that of a link that is stored: %+v", stored.Links)
		}
	}
}

func TestSignInsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, `{}`))
	path := "/sessions/" + string(made.ID) + "/sign-ins"
	if a := w.call(http.MethodPost, "/sessions/"+string(made.ID)+"/links", adminToken, ""); a.status != http.StatusConflict {
		t.Errorf("a link without an address: got %d %s", a.status, a.body)
	}
	in := session.SignIn{ID: "in-1", Digest: "of-the-cookie", Browser: "Firefox"}
	if err := w.Manager.SignIn(t.Context(), made.ID, w.Keys.Digest(session.Secret(made.Token)), in); err != nil {
		t.Fatal(err)
	}
	type list struct {
		SignIns []httpapi.SessionSignIn `json:"sign_ins"`
	}
	a := w.call(http.MethodGet, path, made.Token, "")
	got := decode[list](t, a)
	if len(got.SignIns) != 1 || got.SignIns[0].ID != "in-1" || got.SignIns[0].Browser != "Firefox" || strings.Contains(string(a.body), "of-the-cookie") {
		t.Errorf("got %s", a.body)
	}
	if a := w.call(http.MethodDelete, path+"/in-1", adminToken, ""); a.status != http.StatusNoContent {
		t.Errorf("the end of it: got %d %s", a.status, a.body)
	}
	if got := decode[list](t, w.call(http.MethodGet, path, adminToken, "")); len(got.SignIns) != 0 {
		t.Errorf("afterwards: got %+v", got)
	}
	if a := w.call(http.MethodDelete, path+"/in-1", adminToken, ""); a.status != http.StatusNotFound {
		t.Errorf("the end of it again: got %d %s", a.status, a.body)
	}
}

func TestLinkOfAPlatformTokenNamesIt(t *testing.T) {
	t.Parallel()
	w := newFixtureWith(t, func(_ *fixture, o *httpapi.Options) {
		o.Addresses = origin.New(origin.Options{Loopback: true, Listen: 8080}).Of
	})
	made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, `{}`))
	path := "/sessions/" + string(made.ID)
	platform := w.issue("platform", []string{"sessions:open"}, "")
	link := decode[httpapi.SignInLink](t, w.call(http.MethodPost, path+"/links", platform.Token, ""))
	_, code, _ := strings.Cut(link.Links[0].URL, "/.berth/link/")
	in := session.SignIn{ID: "in-1", Digest: "of-the-cookie"}
	if err := w.Manager.Redeem(t.Context(), made.ID, w.Keys.CodeDigest(session.Secret(code)), "", in); err != nil {
		t.Fatal(err)
	}
	listed := func() int {
		return strings.Count(string(w.call(http.MethodGet, path+"/sign-ins", adminToken, "").body), "in-1")
	}
	if s, err := w.Get(t.Context(), made.ID); err != nil || len(s.SignIns) != 1 || s.SignIns[0].Token != string(platform.ID) || listed() != 1 {
		t.Errorf("got %+v, %v, want the sign-in of the token %s", s.SignIns, err, platform.ID)
	}
	if a := w.call(http.MethodDelete, "/tokens/"+string(platform.ID), adminToken, ""); a.status != http.StatusNoContent || listed() != 0 {
		t.Errorf("after the revocation: got %d and %d sign-ins, want none", a.status, listed())
	}
}

// Over plain HTTP browsers keep no cookie of a sign-in, so that a link would be used up in vain.
func TestLinksAreMadeForSecureAddressesOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		public, domain string
		loopback       bool
		port           uint16
		links          int
		status         int
	}{
		"plain HTTP":               {"http://192.0.2.2:8080", "", false, 20000, 0, http.StatusConflict},
		"plain HTTP and localhost": {"http://berth.example", "ses.example", true, 20000, 1, http.StatusCreated},
		"TLS":                      {"https://berth.example", "ses.example", false, 20000, 2, http.StatusCreated},
		"nothing":                  {"http://192.0.2.2:8080", "", false, 0, 0, http.StatusConflict},
	} {
		public, err := url.Parse(c.public)
		if err != nil {
			t.Fatal(err)
		}
		w := newFixtureWith(t, func(_ *fixture, o *httpapi.Options) {
			o.Addresses = origin.New(origin.Options{
				Public: public, Domain: c.domain, Loopback: c.loopback, Listen: 8080, TLS: public.Scheme == "https", Port: func(session.ID) uint16 { return c.port },
			}).All
		})
		made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, `{}`))
		a := w.call(http.MethodPost, "/sessions/"+string(made.ID)+"/links", adminToken, "")
		if got := decode[httpapi.SignInLink](t, a); a.status != c.status || len(got.Links) != c.links {
			t.Errorf("%s: got %d %s, want %d and %d links", name, a.status, a.body, c.status, c.links)
		}
		if reason := strings.Contains(string(a.body), "plain HTTP"); reason != (name == "plain HTTP") {
			t.Errorf("%s: got %s", name, a.body)
		}
	}
}
