package oidc_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/oidc"
	"berth/internal/oidctest"
	"berth/internal/session"
)

// site is a server that signs people in at a real provider.
type site struct {
	*httptest.Server
	provider *oidctest.Provider
	client   *oidc.Client

	mu      sync.Mutex
	failure error // of the latest Begin or Finish
	ahead   time.Duration
}

// result is what the site answers after a sign-in.
type result struct {
	Identity oidc.Identity
	ReturnTo string
}

func newSite(t *testing.T, change func(*oidc.Options)) *site {
	t.Helper()
	s := &site{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, s.client.Begin(w, r, r.FormValue("to")))
	})
	mux.HandleFunc("GET "+oidc.CallbackPath, func(w http.ResponseWriter, r *http.Request) {
		id, to, err := s.client.Finish(w, r)
		if err != nil {
			s.fail(w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(result{id, to})
	})
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	s.provider = oidctest.Start(t, s.URL+oidc.CallbackPath)
	o := oidc.Options{
		Issuer: s.provider.Issuer, ClientID: oidctest.ClientID, RoleClaim: "access.roles", OperatorRoles: []string{"admin"}, Now: s.now,
		SignIn: oidc.SignIn{
			ClientSecret: oidctest.SecretOf(oidctest.ClientID), RedirectURL: s.URL + oidc.CallbackPath, Key: []byte("0123456789abcdef0123456789abcdef"),
		},
	}
	if change != nil {
		change(&o)
	}
	client, err := oidc.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	return s
}

func (s *site) fail(w http.ResponseWriter, err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	s.failure = err
	s.mu.Unlock()
	http.Error(w, session.MessageOf(err), http.StatusUnauthorized)
}

func (s *site) lastFailure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

func (s *site) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

func (s *site) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

func (s *site) browser(t *testing.T) *http.Client {
	return oidctest.NewBrowser(t, s.Client().Transport)
}

// get opens an address of the site.
func (s *site) get(t *testing.T, browser *http.Client, address string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, answer)
}

func read(t *testing.T, answer *http.Response) (status int, text string) {
	t.Helper()
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// signIn signs a user in and returns what the site has learned.
func (s *site) signIn(t *testing.T, browser *http.Client, user, to string) result {
	t.Helper()
	status, text := read(t, s.provider.SignIn(browser, s.URL+"/login?to="+url.QueryEscape(to), user))
	var got result
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusOK {
		t.Fatalf("sign-in ended with %d: %s", status, text)
	}
	return got
}

func TestSignInAtRealProvider(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	browser := s.browser(t)
	got := s.signIn(t, browser, "ann", "/ui/?x=1")
	id := got.Identity
	if id.Owner != "sub-ann" || id.Subject != "sub-ann" || !id.Operator || id.Name != "ann" || got.ReturnTo != "/ui/?x=1" {
		t.Errorf("got %+v, want ann as an operator, who returns to /ui/", got)
	}
	if until := time.Until(id.Expires); until < time.Minute || until > 2*time.Hour {
		t.Errorf("the identity expires in %v, want about an hour", until)
	}
	if since := time.Since(id.SignedIn); since < 0 || since > time.Minute {
		t.Errorf("ann has signed in %v ago, want a moment", since)
	}
	site, _ := url.Parse(s.URL)
	if left := browser.Jar.Cookies(site); len(left) > 0 {
		t.Errorf("cookies are left after the sign-in: %v", left)
	}
	got = s.signIn(t, s.browser(t), "bob", "/ui/?x=1")
	if id = got.Identity; id.Owner != "sub-bob" || id.Operator || got.ReturnTo != "/ui/?x=1" {
		t.Errorf("got %+v, want bob without the rights of an operator", got)
	}
}

func TestUnverifiedEmailIsRejectedAsOwner(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *oidc.Options) { o.OwnerClaim = "email" })
	if got := s.signIn(t, s.browser(t), "ann", ""); got.Identity.Owner != "ann@example.com" {
		t.Errorf("got owner %q, want ann's address", got.Identity.Owner)
	}
	if status, text := read(t, s.provider.SignIn(s.browser(t), s.URL+"/login", "bob")); status != http.StatusUnauthorized {
		t.Errorf("bob, whose address is not verified: got %d %s", status, text)
	}
}

func TestConcurrentSignInsOfOneBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	browser := s.browser(t)
	_, _ = s.get(t, browser, s.URL+"/login?to=/first") // is left at the provider's page
	if got := s.signIn(t, browser, "ann", "/second"); got.ReturnTo != "/second" {
		t.Errorf("got %+v", got)
	}
}

// Everything that somebody can do with the address of a callback, for which the provider has given a code.
func TestFinishRejectsForeignCallbacks(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	refused := func(why string, browser *http.Client, address string) {
		t.Helper()
		status, text := s.get(t, browser, address)
		if status != http.StatusUnauthorized || !strings.Contains(text, "sign in again") {
			t.Errorf("%s: got %d %s, want a refusal", why, status, text)
		}
	}
	// stopped is a browser at a site that keeps the code from being redeemed, and the callback that was kept.
	stopped := func() (*http.Client, *url.URL) {
		t.Helper()
		browser := s.browser(t)
		var kept *url.URL
		browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == oidc.CallbackPath {
				kept = r.URL
				return http.ErrUseLastResponse
			}
			return nil
		}
		s.provider.SignIn(browser, s.URL+"/login", "ann").Body.Close()
		if kept == nil {
			t.Fatal("the provider has not sent the browser back")
		}
		return browser, kept
	}
	with := func(u *url.URL, name, value string) string {
		changed, query := *u, u.Query()
		query.Set(name, value)
		changed.RawQuery = query.Encode()
		return changed.String()
	}

	_, address := stopped()
	refused("in another browser", s.browser(t), address.String())

	browser, address := stopped()
	victim, _ := stopped()
	refused("in a browser that has begun a sign-in itself", victim, address.String())

	refused("with another state", browser, with(address, "state", "ABCDEF"))
	refused("without a state", browser, with(address, "state", ""))
	refused("with two states", browser, address.String()+"&state=x")
	refused("with a long state", browser, with(address, "state", strings.Repeat("s", 5000)))
	if status, text := s.get(t, browser, address.String()); status != http.StatusOK {
		t.Errorf("the callback itself, after all those: got %d %s", status, text)
	}
	refused("again", browser, address.String())

	browser, address = stopped()
	_, address2 := stopped()
	refused("with the code of another sign-in", browser, with(address, "code", address2.Query().Get("code")))

	browser, address = stopped()
	refused("with a code that was made up", browser, with(address, "code", "made-up"))

	browser, address = stopped()
	refused("with another issuer", browser, with(address, "iss", "https://evil.example"))

	browser, address = stopped()
	s.pass(11 * time.Minute)
	refused("after eleven minutes", browser, address.String())

	failure := s.lastFailure()
	if code := address.Query().Get("code"); failure == nil || strings.Contains(failure.Error(), code) {
		t.Errorf("the failure tells the code: %v", failure)
	}
}

func TestProviderErrorIsPlainText(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	browser := s.browser(t)
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	at, err := answer.Location()
	if err != nil {
		t.Fatal(err)
	}
	evil := url.Values{
		"state": {at.Query().Get("state")}, "error": {"access_denied"}, "error_description": {"no\r\nSet-Cookie: x\u202e" + strings.Repeat("x", 900)},
	}
	status, text := s.get(t, browser, s.URL+oidc.CallbackPath+"?"+evil.Encode())
	if status != http.StatusUnauthorized || !strings.Contains(text, "access_denied: no  Set-Cookie: x xxx") || len(text) > 400 {
		t.Errorf("got %d and %d bytes: %s", status, len(text), text)
	}
	evil.Set("state", "other")
	if _, text = s.get(t, browser, s.URL+oidc.CallbackPath+"?"+evil.Encode()); strings.Contains(text, "access_denied") {
		t.Errorf("an error without a sign-in is shown: %s", text)
	}
}

func TestWrongClientSecretIsInternalError(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *oidc.Options) { o.SignIn.ClientSecret = "wrong" })
	read(t, s.provider.SignIn(s.browser(t), s.URL+"/login", "ann"))
	if err := s.lastFailure(); session.CodeOf(err) != session.CodeInternal || !strings.Contains(err.Error(), "OIDC_CLIENT_ID") {
		t.Errorf("got error %v, want one that names the setting", err)
	}
}

func TestSignInWithProviderDownIsUnavailable(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.provider.Stop()
	if _, text := s.get(t, s.browser(t), s.URL+"/login"); !strings.Contains(text, "does not answer") {
		t.Errorf("got %s", text)
	}
	if err := s.lastFailure(); session.CodeOf(err) != session.CodeIdentityUnavailable {
		t.Errorf("got error %v, want %s", err, session.CodeIdentityUnavailable)
	}
}

func TestBeginRejectsForeignReturnTo(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, to := range []string{"https://evil.example/", "//evil.example", "/\\evil.example"} {
		if status, text := s.get(t, s.browser(t), s.URL+"/login?to="+url.QueryEscape(to)); status != http.StatusUnauthorized {
			t.Errorf("%s: got %d %s", to, status, text)
		}
	}
}

func TestVerifyTokensOfRealProvider(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	token := s.provider.Tokens(oidctest.ClientID, "ann")
	idToken, _ := token.Extra("id_token").(string)

	id, err := s.client.Verify(t.Context(), session.Secret(token.AccessToken))
	if err != nil || id.Owner != "sub-ann" || !id.Operator {
		t.Errorf("access token: got %+v and error %v, want ann as an operator", id, err)
	}
	id, err = s.client.Verify(t.Context(), session.Secret(idToken))
	if err != nil || id.Owner != "sub-ann" || id.Operator {
		t.Errorf("ID token, which has no roles: got %+v and error %v, want ann", id, err)
	}
	if _, err := s.client.Verify(t.Context(), session.Secret(s.provider.Tokens(oidctest.OtherClientID, "ann").AccessToken)); !errors.Is(err, oidc.ErrInvalid) {
		t.Errorf("token of another client: got error %v, want %v", err, oidc.ErrInvalid)
	}

	s.provider.Rotate(false)
	s.pass(10 * time.Second)
	renewed := s.provider.Tokens(oidctest.ClientID, "ann")
	for name, raw := range map[string]string{"before": token.AccessToken, "after": renewed.AccessToken} {
		if _, err := s.client.Verify(t.Context(), session.Secret(raw)); err != nil {
			t.Errorf("token of %s the rotation: %v", name, err)
		}
	}
	s.provider.Rotate(true)
	s.pass(15 * time.Minute)
	if _, err := s.client.Verify(t.Context(), session.Secret(idToken)); !errors.Is(err, oidc.ErrInvalid) {
		t.Errorf("token of a withdrawn key: got error %v, want %v", err, oidc.ErrInvalid)
	}
	if err := s.client.Check(t.Context()); err != nil {
		t.Errorf("the check: %v", err)
	}
}

func TestSignOutURL(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	address, err := s.client.SignOutURL(t.Context())
	if err != nil || !strings.HasPrefix(address, s.provider.Issuer+"/") || !strings.Contains(address, "client_id=berth") {
		t.Fatalf("got %q and error %v", address, err)
	}
	if status, text := s.get(t, s.browser(t), address); status != http.StatusOK {
		t.Errorf("the provider's page: got %d %s", status, text)
	}
}
