// Package oidctest runs a real OpenID provider for tests, and signs people in at it as a browser does.
//
// The provider is the program test/oidcprovider, a module of its own, so that Berth does not depend on it.
package oidctest

import (
	"bufio"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"berth/internal/session"
)

// ClientID is Berth's at the provider; OtherClientID is that of somebody else.
const (
	ClientID      = "berth"
	OtherClientID = "other"
)

// SecretOf is the secret of a client.
func SecretOf(clientID string) session.Secret { return session.Secret("SECRET-of-" + clientID) }

// Provider is a running provider. Its users are ann, who has the roles "developer" and "admin" in the claim access.roles,
// and bob, who has the first one only and an email address that is not verified. Their subjects are sub-ann and sub-bob.
type Provider struct {
	Issuer string

	t        testing.TB
	redirect string
	stop     func()
}

// Start runs a provider until the test ends. Its clients have this redirect URL.
func Start(t testing.TB, redirect string) *Provider {
	t.Helper()
	cmd := command(t, "-redirect", redirect)
	input, err := cmd.StdinPipe()
	must(t, err)
	output, err := cmd.StdoutPipe()
	must(t, err)
	var failure strings.Builder
	cmd.Stderr = &failure
	must(t, cmd.Start())
	stopped := false
	p := &Provider{t: t, redirect: redirect, stop: func() {
		if stopped {
			return
		}
		stopped = true
		input.Close() // the program ends with its input
		if err := cmd.Wait(); err != nil {
			t.Errorf("provider: %v\n%s", err, failure.String())
		}
	}}
	t.Cleanup(p.Stop)
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider does not start: %v\n%s", err, failure.String())
	}
	p.Issuer = strings.TrimSpace(line)
	return p
}

// command is the program that BERTH_TEST_OIDC_PROVIDER names, or else one that is built now.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	if program := os.Getenv("BERTH_TEST_OIDC_PROVIDER"); program != "" {
		return exec.Command(program, args...)
	}
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "berth").Output()
	must(t, err)
	dir := filepath.Join(strings.TrimSpace(string(root)), "test", "oidcprovider")
	return exec.Command("go", append([]string{"run", "-C", dir, "-buildvcs=false", "."}, args...)...)
}

// Stop ends the provider.
func (p *Provider) Stop() { p.stop() }

// Rotate gives the provider a new key. With withdraw the earlier ones are published no longer.
func (p *Provider) Rotate(withdraw bool) {
	p.t.Helper()
	query := "?withdraw=false"
	if withdraw {
		query = "?withdraw=true"
	}
	answer, err := p.post(NewBrowser(p.t, nil), "/test/rotate"+query, nil)
	must(p.t, err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		p.t.Fatalf("rotate: %s", answer.Status)
	}
}

func (p *Provider) post(browser *http.Client, path string, form url.Values) (*http.Response, error) {
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return browser.Do(r)
}

// NewBrowser is a client that keeps cookies and follows redirects. transport may be nil. Like browsers it takes a loopback host
// for a safe one: Secure cookies are kept there without TLS.
func NewBrowser(t testing.TB, transport http.RoundTripper) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	if transport == nil {
		transport = &http.Transport{}
	}
	return &http.Client{Jar: loopbackJar{jar}, Transport: transport, Timeout: 30 * time.Second}
}

// loopbackJar is for loopback hosts only, all of which are safe.
type loopbackJar struct{ http.CookieJar }

// Cookies implements [http.CookieJar].
func (j loopbackJar) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(safe(u)) }

// SetCookies implements [http.CookieJar].
func (j loopbackJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(safe(u), cookies)
}

func safe(u *url.URL) *url.URL {
	s := *u
	s.Scheme = "https"
	return &s
}

// SignIn opens an address that leads to the provider, signs in as a user, and follows the way back to its end. Where the way
// does not lead to the provider's page the answer is what it has led to.
func (p *Provider) SignIn(browser *http.Client, address, user string) *http.Response {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, address, nil)
	must(p.t, err)
	page, err := browser.Do(r)
	must(p.t, err)
	if page.Request.URL.Path != "/login/username" {
		return page
	}
	page.Body.Close()
	answer, err := p.post(browser, "/login/username", url.Values{
		"id": {page.Request.URL.Query().Get("authRequestID")}, "username": {user}, "password": {"secret"},
	})
	must(p.t, err)
	return answer
}

// Tokens signs a user in as a client's own program does. The token's Extra("id_token") is the ID token.
func (p *Provider) Tokens(clientID, user string) *oauth2.Token {
	p.t.Helper()
	found, err := oidc.NewProvider(p.t.Context(), p.Issuer)
	must(p.t, err)
	config := oauth2.Config{
		ClientID: clientID, ClientSecret: SecretOf(clientID).Reveal(), Endpoint: found.Endpoint(), RedirectURL: p.redirect, Scopes: []string{"openid"},
	}
	back, err := url.Parse(p.redirect)
	must(p.t, err)
	var code string
	browser := NewBrowser(p.t, nil)
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == back.Host && r.URL.Path == back.Path {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}
	p.SignIn(browser, config.AuthCodeURL("state"), user).Body.Close()
	token, err := config.Exchange(p.t.Context(), code)
	must(p.t, err)
	return token
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
