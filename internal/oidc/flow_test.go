package oidc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

var flowKey = []byte("0123456789abcdef0123456789abcdef")

// signInClient can sign people in at the scripted issuer.
func signInClient(i *issuer, change func(*Options)) *Client {
	return i.client(func(o *Options) {
		o.SignIn = SignIn{ClientSecret: "secret", RedirectURL: "https://berth.example" + CallbackPath, Key: flowKey}
		if change != nil {
			change(o)
		}
	})
}

func get(t testing.TB, address string, cookies ...*http.Cookie) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	return r
}

// begin begins a sign-in and returns where the browser is sent, and the flow's cookie.
func begin(t testing.TB, c *Client, cookies ...*http.Cookie) (*url.URL, *http.Cookie, *http.Response) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := c.Begin(w, get(t, "https://berth.example/auth/oidc/login", cookies...), "/ui/"); err != nil {
		t.Fatal(err)
	}
	answer := w.Result()
	to, err := answer.Location()
	if err != nil {
		t.Fatal(err)
	}
	set := answer.Cookies()
	return to, set[len(set)-1], answer
}

// finish continues a sign-in with its cookies.
func finish(t testing.TB, c *Client, query url.Values, cookies ...*http.Cookie) (Identity, error) {
	t.Helper()
	id, _, err := c.Finish(httptest.NewRecorder(), get(t, "https://berth.example"+CallbackPath+"?"+query.Encode(), cookies...))
	return id, err
}

func TestSignInIsBoundToItsBrowser(t *testing.T) {
	t.Parallel()
	c := signInClient(newIssuer(t), nil)
	to, cookie, answer := begin(t, c)
	query := to.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": clientID, "redirect_uri": "https://berth.example" + CallbackPath,
		"scope": "openid profile email", "code_challenge_method": "S256",
	} {
		if got := query.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if got := query.Get(name); len(got) < 26 {
			t.Errorf("%s %q is too short to be a secret", name, got)
		}
	}
	got := *cookie
	got.Value, got.Raw = "", ""
	want := http.Cookie{
		Name: cookieName(query.Get("state")), Path: "/", MaxAge: 600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if diff := cmp.Diff(want, got); diff != "" || !strings.HasPrefix(got.Name, "__Host-") {
		t.Errorf("the cookie's attributes, -want +got:\n%s", diff)
	}
	sealed, _ := base64.RawURLEncoding.DecodeString(cookie.Value)
	for _, secret := range []string{query.Get("state"), query.Get("nonce"), "/ui/"} {
		if strings.Contains(cookie.Value+string(sealed), secret) {
			t.Errorf("the cookie shows %q", secret)
		}
	}
	if answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("the answer may be kept: %v", answer.Header)
	}
	if again, _, _ := begin(t, c); again.Query().Get("state") == query.Get("state") || again.Query().Get("nonce") == query.Get("nonce") ||
		again.Query().Get("code_challenge") == query.Get("code_challenge") {
		t.Error("two sign-ins share a secret")
	}
}

func TestFinishRejectsForeignCookies(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := signInClient(i, nil)
	other := signInClient(i, func(o *Options) { o.SignIn.Key = []byte(strings.Repeat("k", 32)) })
	moved := signInClient(i, func(o *Options) { o.ClientID = "moved" })
	to, cookie, _ := begin(t, c)
	_, second, _ := begin(t, c)
	query := url.Values{"state": {to.Query().Get("state")}, "code": {"code"}}
	renamed := *second
	renamed.Name = cookie.Name
	flipped := *cookie
	flipped.Value = "A" + flipped.Value[1:]
	if flipped.Value == cookie.Value {
		flipped.Value = "B" + flipped.Value[1:]
	}
	for name, err := range map[string]error{
		"none":               errOf(finish(t, c, query)),
		"of another sign-in": errOf(finish(t, c, query, &renamed)),
		"changed":            errOf(finish(t, c, query, &flipped)),
		"twice":              errOf(finish(t, c, query, cookie, cookie)),
		"of another key":     errOf(finish(t, other, query, cookie)),
		"of another client":  errOf(finish(t, moved, query, cookie)),
	} {
		if session.MessageOf(err) != errNoFlow.Message {
			t.Errorf("%s: got error %v, want %v", name, err, errNoFlow)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestBeginClearsCookiesOfTooManySignIns(t *testing.T) {
	t.Parallel()
	c := signInClient(newIssuer(t), nil)
	var kept []*http.Cookie
	for range maxFlows {
		_, cookie, answer := begin(t, c, kept...)
		if set := answer.Cookies(); len(set) != 1 {
			t.Fatalf("%d cookies are set with %d sign-ins in progress, want 1", len(set), len(kept))
		}
		kept = append(kept, cookie)
	}
	kept = append(kept, &http.Cookie{Name: "other", Value: "x"})
	_, _, answer := begin(t, c, kept...)
	removed := 0
	for _, cookie := range answer.Cookies() {
		if cookie.MaxAge < 0 {
			removed++
		}
	}
	if removed != maxFlows {
		t.Errorf("%d cookies are removed, want %d", removed, maxFlows)
	}
}

// The token endpoint of the scripted issuer answers with an ID token of these claims.
func TestFinishRejectsInvalidIDTokens(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change   claims
		userInfo claims
		want     session.Code
	}{
		"valid":                           {nil, nil, ""},
		"of another sign-in":              {claims{"nonce": "other"}, nil, session.CodeUnauthorized},
		"without a nonce":                 {claims{"nonce": nil}, nil, session.CodeUnauthorized},
		"of another audience":             {claims{"aud": "other"}, nil, session.CodeUnauthorized},
		"of another issuer":               {claims{"iss": "https://evil.example"}, nil, session.CodeUnauthorized},
		"expired":                         {claims{"exp": time.Now().Add(-time.Hour).Unix()}, nil, session.CodeUnauthorized},
		"not valid yet":                   {claims{"nbf": time.Now().Add(time.Hour).Unix()}, nil, session.CodeUnauthorized},
		"several audiences and no party":  {claims{"aud": []string{clientID, "other"}}, nil, session.CodeUnauthorized},
		"several audiences and ours":      {claims{"aud": []string{clientID, "other"}, "azp": clientID}, nil, ""},
		"issued to another client":        {claims{"azp": "other"}, nil, session.CodeUnauthorized},
		"no owner":                        {claims{"user": nil}, nil, session.CodeUnauthorized},
		"the owner asked for":             {claims{"user": nil}, claims{"sub": "ann", "user": "u"}, ""},
		"the owner asked for, of another": {claims{"user": nil}, claims{"sub": "bob", "user": "u"}, session.CodeUnauthorized},
		"the answer overrides nothing":    {claims{"x": nil}, claims{"sub": "ann", "user": "other"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			i.discovery = map[string]any{"userinfo_endpoint": i.URL + "/userinfo"}
			c := signInClient(i, func(o *Options) { o.OwnerClaim = "user" })
			to, cookie, _ := begin(t, c)
			have := claims{"nonce": to.Query().Get("nonce"), "user": "u"}
			for claim, value := range tc.change {
				have[claim] = value
			}
			i.script("/token", map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": i.token(have).Reveal()})
			i.script("/userinfo", tc.userInfo)
			id, err := finish(t, c, url.Values{"state": {to.Query().Get("state")}, "code": {"code"}}, cookie)
			if session.CodeOf(err) != tc.want || (err == nil) != (id.Owner == "u") {
				t.Errorf("got %+v and error %v, want code %q", id, err, tc.want)
			}
		})
	}
}

func TestCallbackWithoutRequiredIssuerIsRejected(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	i.discovery = map[string]any{"authorization_response_iss_parameter_supported": true}
	c := signInClient(i, nil)
	to, cookie, _ := begin(t, c)
	_, err := finish(t, c, url.Values{"state": {to.Query().Get("state")}, "code": {"code"}}, cookie)
	if session.MessageOf(err) != errRefused.Message {
		t.Errorf("got error %v, want %v", err, errRefused)
	}
}

// silent is a provider that never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

func TestVerifyTimesOutWhenProviderHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{Issuer: "https://login.example", ClientID: clientID, Transport: silent{}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = c.Verify(t.Context(), "e30.e30.e30")
		if took := time.Since(began); session.CodeOf(err) != session.CodeIdentityUnavailable || took != requestTimeout {
			t.Errorf("got error %v after %v, want %s after %v", err, took, session.CodeIdentityUnavailable, requestTimeout)
		}
	})
}

func TestReturnToIsLocal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"": true, "/": true, "/ui/sessions?status=running&x=//y": true, "/a/b#c": true, "ses-abcdef": false, "/s/ses-a/": true,
		"//evil.example": false, "/\\evil.example": false, "\\\\evil.example": false, "https://evil.example": false, "https:evil": false,
		"javascript:alert(1)": false, "/%2fevil.example": false, "/x/..//evil.example": false, "/.//evil.example": false, "/x/%2e%2e/": false,
		"/\tx": false, "/\n/evil.example": false, " /x": false, "/x y": false, "evil.example": false, "/é": false, "/%5cevil.example": false,
		"/" + strings.Repeat("a", maxReturnTo): false, "Ses-a": false, "?x": false, "#x": false, "/%zz": false,
	} {
		if err := CheckReturnTo(text); (err == nil) != want {
			t.Errorf("%q: got error %v, want it accepted: %v", text, err, want)
		}
	}
}

func FuzzReturnTo(f *testing.F) {
	for _, text := range []string{"/ui/", "ses-a", "//x", "/\\x", "/a/../b", "/%2f"} {
		f.Add(text)
	}
	base, _ := url.Parse("https://berth.example/auth/oidc/callback")
	f.Fuzz(func(t *testing.T, text string) {
		if CheckReturnTo(text) != nil {
			return
		}
		to, err := base.Parse(text)
		if err != nil || to.Host != base.Host || to.Scheme != base.Scheme || strings.HasPrefix(to.EscapedPath(), "//") {
			t.Errorf("%q leads to %v (%v)", text, to, err)
		}
	})
}

func FuzzFlowCookie(f *testing.F) {
	c := &Client{opts: Options{ClientID: clientID, Issuer: "https://login.example", Now: time.Now}}
	key := make([]byte, 32)
	rand.Read(key) // each of the fuzzer's processes has its own
	c.seal, _ = newSeal(key)
	made := c.newFlow("/ui/")
	cookie := c.cookie(made)
	f.Add(cookie.Name, cookie.Value, made.State)
	f.Add(cookie.Name, "", made.State)
	f.Add(cookie.Name, cookie.Value[:20], made.State)
	f.Add("x", cookie.Value, made.State)
	f.Add(cookie.Name, cookie.Value, "x")
	f.Add(cookie.Name, strings.Repeat("A", maxCookie), "")
	f.Fuzz(func(t *testing.T, name, value, state string) {
		got, ok := c.open(name, value, state)
		sealed, _ := base64.RawURLEncoding.DecodeString(value)
		want, _ := base64.RawURLEncoding.DecodeString(cookie.Value)
		if valid := name == cookie.Name && string(sealed) == string(want) && state == made.State; ok != valid {
			t.Errorf("got %v, want %v", ok, valid)
		}
		if ok && fmt.Sprint(got.Nonce, got.Verifier, got.ReturnTo) != fmt.Sprint(made.Nonce, made.Verifier, made.ReturnTo) {
			t.Errorf("got %+v, want %+v", got, made)
		}
	})
}
