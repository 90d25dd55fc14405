package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"berth/internal/session"
)

func TestDiscoveryIsRetriedWithBackoff(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	i.down = true
	var log strings.Builder
	c := i.client(func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	raw := i.token(nil)
	for range 20 {
		if _, err := c.Verify(t.Context(), raw); session.CodeOf(err) != session.CodeIdentityUnavailable {
			t.Fatalf("got error %v, want %s", err, session.CodeIdentityUnavailable)
		}
	}
	if got, _ := i.requests(); got != 1 {
		t.Errorf("%d requests went to a provider that is down, want 1", got)
	}
	i.set(func() { i.down = false })
	i.pass(firstRetry)
	if _, err := c.Verify(t.Context(), raw); err != nil {
		t.Errorf("after the provider is back: %v", err)
	}
	if got := log.String(); strings.Count(got, "unavailable") != 1 || strings.Count(got, "recovered") != 1 {
		t.Errorf("got the log\n%swant the outage and its end, once each", got)
	}
}

func TestConcurrentVerificationsShareOneDiscovery(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	i.hang = make(chan struct{})
	c := i.client(nil)
	raw := i.token(nil)
	var all sync.WaitGroup
	errs := make(chan error, 50)
	for range cap(errs) {
		all.Go(func() {
			_, err := c.Verify(t.Context(), raw)
			errs <- err
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Verify(gone, raw); session.CodeOf(err) != session.CodeIdentityUnavailable {
		t.Errorf("got error %v for a client that has gone, want %s", err, session.CodeIdentityUnavailable)
	}
	close(i.hang)
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Errorf("after the provider has answered: %v", err)
		}
	}
	if discovered, fetched := i.requests(); discovered != 1 || fetched != 1 {
		t.Errorf("%d requests for the document and %d for the keys, want 1 of each", discovered, fetched)
	}
}

func TestInvalidDiscoveryAndKeysAreUnavailable(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(*issuer){
		"of another issuer": func(i *issuer) { i.discovery = map[string]any{"issuer": "https://evil.example"} },
		"without keys":      func(i *issuer) { i.discovery = map[string]any{"jwks_uri": nil} },
		"keys over http":    func(i *issuer) { i.discovery = map[string]any{"jwks_uri": "http://keys.example/"} },
		"keys in a file":    func(i *issuer) { i.discovery = map[string]any{"jwks_uri": "file:///etc/passwd"} },
		"only HMAC": func(i *issuer) {
			i.discovery = map[string]any{"id_token_signing_alg_values_supported": []string{"HS256", "none"}}
		},
		"too large":           func(i *issuer) { i.discovery = map[string]any{"x": strings.Repeat("x", maxAnswer)} },
		"a large set of keys": func(i *issuer) { i.keySet = []byte(`{"keys":[` + strings.Repeat(" ", maxAnswer) + `]}`) },
		"many keys":           func(i *issuer) { i.keySet = []byte(`{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`) },
		"no key":              func(i *issuer) { i.keySet = []byte(`{"keys":[]}`) },
		"keys of no use":      func(i *issuer) { i.keySet = []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"new"}]}`) },
		"no JSON":             func(i *issuer) { i.keySet = []byte("<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			script(i)
			c := i.client(nil)
			if _, err := c.Verify(t.Context(), i.token(nil)); session.CodeOf(err) != session.CodeIdentityUnavailable {
				t.Errorf("got error %v, want %s", err, session.CodeIdentityUnavailable)
			}
			if err := c.Check(t.Context()); err == nil || len(err.Error()) > 1000 {
				t.Errorf("the check says %v, want a short reason", err)
			}
		})
	}
}

func TestVerifyFetchesKeysForUnknownKeyID(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(nil)
	verify := func(raw session.Secret) {
		t.Helper()
		if _, err := c.Verify(t.Context(), raw); err != nil {
			t.Error(err)
		}
	}
	old := i.token(nil)
	verify(old)
	second := newKey(t, "second")
	i.set(func() { i.keys = []jose.JSONWebKey{second, i.keys[0]} })
	i.pass(unknownKeyEvery)
	verify(i.token(nil))
	verify(old)
	if _, fetched := i.requests(); fetched != 2 {
		t.Errorf("%d requests for keys, want 2", fetched)
	}
}

func TestWithdrawnKeyIsRejected(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(nil)
	old := i.token(nil)
	if _, err := c.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	second := newKey(t, "second")
	i.set(func() { i.keys = []jose.JSONWebKey{second} })
	i.pass(keysFreshFor)
	if _, err := c.Verify(t.Context(), old); !errors.Is(err, ErrInvalid) {
		t.Errorf("got error %v for a token of a withdrawn key, want %v", err, ErrInvalid)
	}
}

func TestCachedKeysAreUsedWhileProviderIsDown(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(nil)
	verify := func() error {
		_, err := c.Verify(t.Context(), i.token(nil))
		return err
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	i.set(func() { i.down = true })
	i.pass(keysUsableFor - time.Minute)
	if err := verify(); err != nil {
		t.Errorf("with keys of less than a day: %v", err)
	}
	i.pass(2 * time.Minute)
	if err := verify(); session.CodeOf(err) != session.CodeIdentityUnavailable {
		t.Errorf("got error %v with older keys, want %s", err, session.CodeIdentityUnavailable)
	}
}

func TestUnknownKeyIDFloodFetchesKeysOncePerInterval(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(nil)
	forged := func(n int) session.Secret {
		key := i.keys[0]
		key.KeyID = fmt.Sprint("forged-", n)
		return sign(t, jose.ES256, key, "JWT", i.claims(nil))
	}
	for n := range 300 {
		if n == 100 || n == 200 {
			i.pass(unknownKeyEvery)
		}
		if _, err := c.Verify(t.Context(), forged(n)); !errors.Is(err, ErrInvalid) {
			t.Fatalf("got error %v, want %v", err, ErrInvalid)
		}
	}
	if _, fetched := i.requests(); fetched != 3 {
		t.Errorf("300 tokens of unknown keys in 20 s caused %d requests for keys, want 3", fetched)
	}
	i.set(func() { i.down = true })
	i.pass(unknownKeyEvery)
	if _, err := c.Verify(t.Context(), forged(0)); session.CodeOf(err) != session.CodeIdentityUnavailable {
		t.Errorf("got error %v for an unknown key of a provider that is down, want %s", err, session.CodeIdentityUnavailable)
	}
	if _, err := c.Verify(t.Context(), i.token(nil)); err != nil {
		t.Errorf("a token of a known key, meanwhile: %v", err)
	}
}

func TestNewRejectsInvalidOptions(t *testing.T) {
	t.Parallel()
	good := Options{Issuer: "https://login.example", ClientID: "x", SignIn: SignIn{
		ClientSecret: "secret", RedirectURL: "https://berth.example" + CallbackPath, Key: make([]byte, 32),
	}}
	if _, err := New(good); err != nil {
		t.Errorf("good options: %v", err)
	}
	for name, change := range map[string]func(*Options){
		"issuer over http":       func(o *Options) { o.Issuer = "http://login.example" },
		"issuer with a query":    func(o *Options) { o.Issuer = "https://login.example?x" },
		"issuer with a password": func(o *Options) { o.Issuer = "https://a:b@login.example" },
		"no client":              func(o *Options) { o.ClientID = "" },
		"no secret":              func(o *Options) { o.SignIn.ClientSecret = "" },
		"redirect over http":     func(o *Options) { o.SignIn.RedirectURL = "http://berth.example" + CallbackPath },
		"redirect elsewhere":     func(o *Options) { o.SignIn.RedirectURL = "https://berth.example/x" },
		"short key":              func(o *Options) { o.SignIn.Key = make([]byte, 16) },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
