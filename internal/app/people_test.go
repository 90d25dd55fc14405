package app_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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
