package proxy

import (
	"net/http"
	"strings"
	"testing"

	"berth/internal/proxy/policy"
	"berth/internal/session"
)

func TestDesktopClientIsAnsweredAcrossOrigins(t *testing.T) {
	t.Parallel()
	asked := 0
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	}, func(o *Options) { o.CrossOrigins = policy.DesktopOrigins })
	for _, host := range []string{string(testID) + ".localhost", "ses-unknown.localhost"} {
		r := w.browses(t, http.MethodOptions, "/session", "", "Origin", "oc://renderer", "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization,content-type", "Access-Control-Request-Private-Network", "true")
		r.Host = host
		a := w.do(t, r)
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": "oc://renderer", "Access-Control-Allow-Headers": "authorization,content-type",
			"Access-Control-Allow-Private-Network": "true", "Access-Control-Allow-Credentials": "", "Vary": "Origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", host, name, got, want)
			}
		}
		if a.status != http.StatusNoContent || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "PATCH") {
			t.Errorf("%s: got %+v", host, a)
		}
	}
	if asked != 0 {
		t.Error("the server was asked for a preflight")
	}
	post := func(header ...string) answer {
		return w.do(t, w.browses(t, http.MethodPost, "/session", "{}", append(header, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors")...))
	}
	a := post("Origin", "oc://renderer", "Authorization", "Bearer "+testToken.Reveal())
	if a.status != http.StatusOK || a.header.Get("Access-Control-Allow-Origin") != "oc://renderer" || len(a.header["Access-Control-Allow-Credentials"]) != 0 {
		t.Errorf("the request itself: got %+v", a)
	}
	a = post("Origin", "oc://renderer")
	a.mustBe(t, http.StatusUnauthorized, session.CodeUnauthorized, "without a token")
	if a.header.Get("Access-Control-Allow-Origin") != "oc://renderer" {
		t.Errorf("the client cannot read why it was refused: %+v", a.header)
	}
}

func TestPagesOfOtherOriginsAreNot(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") }, func(o *Options) { o.CrossOrigins = policy.DesktopOrigins })
	for _, from := range []string{"https://evil.example", "null", "oc://renderer.evil", "OC://renderer", "http://ses-two.localhost"} {
		r := w.browses(t, http.MethodOptions, "/session", "", "Origin", from, "Access-Control-Request-Method", "POST")
		a := w.do(t, r)
		a.mustBe(t, http.StatusForbidden, session.CodeForbidden, from)
		r = w.browses(t, http.MethodPost, "/session", "{}", "Origin", from, "Authorization", "Bearer "+testToken.Reveal())
		b := w.do(t, r)
		b.mustBe(t, http.StatusForbidden, session.CodeForbidden, from)
		if len(a.header["Access-Control-Allow-Origin"])+len(b.header["Access-Control-Allow-Origin"]) != 0 {
			t.Errorf("%s may read the answers", from)
		}
	}
	injected := w.browses(t, http.MethodOptions, "/", "", "Origin", "oc://renderer", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "a;b")
	w.do(t, injected).mustBe(t, http.StatusForbidden, session.CodeForbidden, "names that are none")
}
