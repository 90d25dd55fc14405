package app_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"berth/internal/app"
	"berth/internal/oidc"
	"berth/internal/oidctest"
	"berth/internal/session"
)

// startWithProvider runs Berth at an address that is known beforehand, at which a real identity provider is registered.
func startWithProvider(t *testing.T, log *slog.Logger) (*berth, *oidctest.Provider) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := settings(t)
	cfg.Server.PublicURL = "http://" + listener.Addr().String()
	provider := oidctest.Start(t, cfg.Server.PublicURL+oidc.CallbackPath)
	cfg.OIDC.Issuer, cfg.OIDC.ClientID, cfg.OIDC.ClientSecret = provider.Issuer, oidctest.ClientID, oidctest.SecretOf(oidctest.ClientID)
	cfg.OIDC.RoleClaim, cfg.OIDC.OperatorRoles = "access.roles", "admin, root"
	return startWith(t, cfg, log, app.WithListener(listener)), provider
}

func TestPeopleUseTheAPIWithTokensOfTheirProvider(t *testing.T) {
	t.Parallel()
	b, provider := startWithProvider(t, slog.New(slog.DiscardHandler))
	ann := provider.Tokens(oidctest.ClientID, "ann").AccessToken
	bob := provider.Tokens(oidctest.ClientID, "bob").AccessToken
	other := provider.Tokens(oidctest.OtherClientID, "bob").AccessToken

	type record struct {
		ID    session.ID `json:"session_id"`
		Owner string     `json:"owner"`
	}
	var his, admins record
	if got := b.call(t, http.MethodPost, "/sessions", bob, &his); got != http.StatusCreated || his.Owner != "sub-bob" {
		t.Fatalf("bob creates a session: got %d, %+v; want one that he owns", got, his)
	}
	if got := b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &admins); got != http.StatusCreated {
		t.Fatalf("the operator creates a session: got %d", got)
	}
	for _, tc := range []struct {
		who, token, method, path string
		want                     int
	}{
		{"bob", bob, http.MethodGet, "/sessions/" + string(his.ID), http.StatusOK},
		{"bob", bob, http.MethodGet, "/sessions/" + string(admins.ID), http.StatusNotFound},
		{"bob", bob, http.MethodGet, "/instances", http.StatusForbidden},
		{"another client's bob", other, http.MethodGet, "/sessions/" + string(his.ID), http.StatusUnauthorized},
		{"ann", ann, http.MethodGet, "/sessions/" + string(his.ID), http.StatusOK},
		{"ann", ann, http.MethodGet, "/instances", http.StatusOK},
		{"ann", ann + "A", http.MethodGet, "/instances", http.StatusUnauthorized},
	} {
		if got := b.call(t, tc.method, tc.path, tc.token, nil); got != tc.want {
			t.Errorf("%s: %s %s: got %d, want %d", tc.who, tc.method, tc.path, got, tc.want)
		}
	}
	var list struct{ Sessions []record }
	if b.call(t, http.MethodGet, "/sessions", bob, &list); len(list.Sessions) != 1 || list.Sessions[0].ID != his.ID {
		t.Errorf("bob lists %+v, want his session", list.Sessions)
	}
}

func TestAPIWithoutItsProvider(t *testing.T) {
	t.Parallel()
	b, provider := startWithProvider(t, slog.New(slog.DiscardHandler))
	bob := provider.Tokens(oidctest.ClientID, "bob").AccessToken
	provider.Stop()
	answer, text := b.ask(t, http.MethodGet, "/sessions", bob)
	if answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, string(session.CodeIdentityUnavailable)) || answer.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 503 with the time to wait", answer.StatusCode, text)
	}
	if got := b.call(t, http.MethodGet, "/sessions", b.adminToken(t), nil); got != http.StatusOK {
		t.Errorf("the operator's own token: got %d, want it not to need the provider", got)
	}
	if answer, text = b.ask(t, http.MethodGet, "/auth/oidc/login", ""); answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "does not answer") {
		t.Errorf("sign-in: got %d %s, want 503", answer.StatusCode, text)
	}
}

func TestPeopleSignInAtBerth(t *testing.T) {
	t.Parallel()
	log := &journal{}
	b, provider := startWithProvider(t, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	browser := oidctest.NewBrowser(t, nil)
	var code string
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == oidc.CallbackPath {
			code = r.URL.Query().Get("code")
		}
		return nil
	}
	answer := provider.SignIn(browser, "http://"+b.Addr().String()+"/auth/oidc/login", "bob")
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(text), "sub-bob") {
		t.Fatalf("got %d %s and error %v, want bob signed in", answer.StatusCode, text, err)
	}
	for n := range 30 {
		answer, text := b.ask(t, http.MethodGet, fmt.Sprint("/auth/oidc/callback?code=x&state=", n), "")
		want := http.StatusUnauthorized
		if n >= 15 {
			want = http.StatusTooManyRequests
		}
		if (n < 5 || n >= 25) && answer.StatusCode != want {
			t.Errorf("forged callback %d: got %d %s, want %d", n, answer.StatusCode, text, want)
		}
	}
	b.end(t)
	lines := log.text.String()
	if want := `"actor":"owner:sub-bob"`; !strings.Contains(lines, want) || !strings.Contains(lines, "finish-sign-in") {
		t.Errorf("the audit trail has no sign-in of bob:\n%s", lines)
	}
	if code == "" || strings.Contains(lines, code) || strings.Contains(lines, "SECRET-of") {
		t.Errorf("the log tells the code %q or the client's secret:\n%s", code, lines)
	}
}

// localhost sends requests to all names below localhost to this machine, as browsers do.
func localhost() http.RoundTripper {
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
}

// browse is a browser that keeps cookies, at an address that makes forms of its own origin's pages.
func browse(t *testing.T, browser *http.Client, method, address, home string, form url.Values) (int, string, *url.URL) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", home)
	}
	answer, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Request.URL
}

var accountLink = regexp.MustCompile(`href="(/\.berth/account[^"]*)"`)

func TestPersonSignsInToOwnSession(t *testing.T) {
	t.Parallel()
	b, provider := startWithProvider(t, slog.New(slog.DiscardHandler))
	var made struct {
		ID session.ID `json:"session_id"`
	}
	if got := b.call(t, http.MethodPost, "/sessions", provider.Tokens(oidctest.ClientID, "bob").AccessToken, &made); got != http.StatusCreated {
		t.Fatalf("bob creates a session: got %d", got)
	}
	_, port, err := net.SplitHostPort(b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	home := "http://" + string(made.ID) + ".localhost:" + port

	browser := oidctest.NewBrowser(t, localhost())
	status, page, _ := browse(t, browser, http.MethodGet, home+"/some/page?x=1", home, nil)
	link := accountLink.FindStringSubmatch(page)
	if status != http.StatusUnauthorized || link == nil {
		t.Fatalf("got %d %s, want a page with the way to the provider", status, page)
	}
	answer := provider.SignIn(browser, home+html.UnescapeString(link[1]), "bob")
	answer.Body.Close()
	code, isLink := strings.CutPrefix(answer.Request.URL.String(), home+"/.berth/link/")
	if !isLink {
		t.Fatalf("the sign-in ends at %s, want a link of the session", answer.Request.URL)
	}
	form := url.Values{"code": {code}}
	other := oidctest.NewBrowser(t, localhost())
	if status, page, _ = browse(t, other, http.MethodPost, home+"/.berth/sign-in", home, form); status != http.StatusUnauthorized {
		t.Errorf("another browser that has seen the link: got %d %s, want 401", status, page)
	}
	status, page, at := browse(t, browser, http.MethodPost, home+"/.berth/sign-in", home, form)
	if status == http.StatusUnauthorized || accountLink.MatchString(page) || at.RequestURI() != "/some/page?x=1" {
		t.Errorf("after the sign-in: got %d %s at %s, want the page that bob has opened", status, page, at)
	}
}

// Who begins at Berth's own address is signed in by the same steps: the session's origin binds the way back to the browser.
func TestPersonOpensSessionFromBerthsOwnAddress(t *testing.T) {
	t.Parallel()
	b, provider := startWithProvider(t, slog.New(slog.DiscardHandler))
	var made struct {
		ID session.ID `json:"session_id"`
	}
	b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &made)
	_, port, _ := net.SplitHostPort(b.Addr().String())
	home := "http://" + string(made.ID) + ".localhost:" + port
	login := "http://" + b.Addr().String() + "/auth/oidc/login?return_to=" + string(made.ID)

	ann := oidctest.NewBrowser(t, localhost()) // an operator
	answer := provider.SignIn(ann, login, "ann")
	answer.Body.Close()
	// The provider of the test asks again, as it does each time.
	answer = provider.SignIn(ann, answer.Request.URL.String(), "ann")
	answer.Body.Close()
	code, isLink := strings.CutPrefix(answer.Request.URL.String(), home+"/.berth/link/")
	if !isLink {
		t.Fatalf("the operator's sign-in ends at %s, want a link of the session", answer.Request.URL)
	}
	if status, page, _ := browse(t, ann, http.MethodPost, home+"/.berth/sign-in", home, url.Values{"code": {code}}); status == http.StatusUnauthorized {
		t.Errorf("got %d %s", status, page)
	}
	bob := oidctest.NewBrowser(t, localhost())
	answer = provider.SignIn(bob, login, "bob")
	answer.Body.Close()
	if answer.StatusCode != http.StatusNotFound {
		t.Errorf("bob, whose session it is not: got %d, want 404", answer.StatusCode)
	}
}

// Berth's own page signs in once; then sessions open, and the API answers, without the provider, which may be down.
func TestPersonStaysSignedInAtBerth(t *testing.T) {
	t.Parallel()
	b, provider := startWithProvider(t, slog.New(slog.DiscardHandler))
	own := "http://" + b.Addr().String()
	var made struct {
		ID session.ID `json:"session_id"`
	}
	b.call(t, http.MethodPost, "/sessions", provider.Tokens(oidctest.ClientID, "bob").AccessToken, &made)
	browser := oidctest.NewBrowser(t, localhost())
	provider.SignIn(browser, own+"/auth/oidc/login", "bob").Body.Close()
	provider.Stop()
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), provider.Issuer) {
			return http.ErrUseLastResponse
		}
		return nil
	}

	ask := func(method, address string, header ...string) (int, string, *url.URL) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		answer, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text), answer.Request.URL
	}
	if status, text, _ := ask(http.MethodGet, own+"/sessions", "Sec-Fetch-Site", "same-origin"); status != http.StatusOK || !strings.Contains(text, string(made.ID)) {
		t.Errorf("bob's sessions: got %d %s", status, text)
	}
	if status, _, _ := ask(http.MethodGet, own+"/instances", "Sec-Fetch-Site", "same-origin"); status != http.StatusForbidden {
		t.Errorf("what is the operator's: got %d, want 403", status)
	}
	_, port, _ := net.SplitHostPort(b.Addr().String())
	home := "http://" + string(made.ID) + ".localhost:" + port
	navigation := []string{"Accept", "text/html", "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	if status, text, at := ask(http.MethodGet, home+"/.berth/account?to=/x", navigation...); status != http.StatusOK || !strings.HasPrefix(at.String(), home+"/.berth/link/") {
		t.Errorf("opening his session: got %d %s at %s, want a link to it", status, text, at)
	}
	if status, text, _ := ask(http.MethodPost, own+"/auth/oidc/sign-out", "Origin", own); status != http.StatusSeeOther {
		t.Errorf("sign-out: got %d %s, want it to lead to the provider's page", status, text)
	}
	if status, _, _ := ask(http.MethodGet, own+"/sessions", "Sec-Fetch-Site", "same-origin"); status != http.StatusUnauthorized {
		t.Errorf("after the sign-out: got %d, want 401", status)
	}
}
