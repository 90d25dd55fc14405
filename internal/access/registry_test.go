package access_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/session"
	"berth/internal/storetest"
)

// registry is an open registry over a store in memory.
func registry(t *testing.T, store access.TokenStore, now func() time.Time) *access.Registry {
	t.Helper()
	r, err := access.OpenRegistry(t.Context(), access.RegistryOptions{Store: store, Keys: keys(t, "the secret of this very test"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func issue(t *testing.T, r *access.Registry, req access.TokenRequest) (access.PlatformToken, session.Secret) {
	t.Helper()
	made, secret, err := r.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return made, secret
}

func list(secret session.Secret) access.Ask {
	return access.Ask{Surface: access.API, Operation: "list-sessions", Verb: access.List, Secret: secret}
}

func wantCode(t *testing.T, what string, err error, want session.Code) {
	t.Helper()
	if got := session.CodeOf(err); got != want {
		t.Errorf("%s: got %v (code %q), want the code %q", what, err, got, want)
	}
}

func TestPlatformTokenLivesFromCreationToRevocation(t *testing.T) {
	t.Parallel()
	store := &storetest.MemoryTokens{}
	now := time.Now()
	r := registry(t, store, func() time.Time { return now })
	a := authority(t, access.Options{Tokens: r, Now: func() time.Time { return now }})
	made, secret := issue(t, r, access.TokenRequest{Name: "ci", Scopes: access.ScopeRead, Life: time.Hour})
	if !strings.HasPrefix(secret.Reveal(), "berth_pat_") || len(secret.Reveal()) < 32 {
		t.Errorf("the secret has %d characters, want a prefix that can be recognised and at least 128 bits", len(secret.Reveal()))
	}
	if stored := fmt.Sprintf("%+v", made); strings.Contains(stored, secret.Reveal()) || made.Digest == a.Keys.Digest(secret) {
		t.Errorf("want neither the secret nor the digest of a session's token in the record %s", stored)
	}
	p, err := a.Admit(t.Context(), list(secret), &known{})
	if err != nil || p.Kind != access.Platform || p.Name != "ci" || p.Actor() != "token:ci" {
		t.Errorf("got %+v, %v, want the token", p, err)
	}
	for name, c := range map[string]struct {
		ask  access.Ask
		code session.Code
	}{
		"another scope's verb":   {access.Ask{Surface: access.API, Verb: access.Create, Secret: secret}, session.CodeForbidden},
		"the operator's verb":    {access.Ask{Surface: access.API, Verb: access.PlatformTokens, Secret: secret}, session.CodeForbidden},
		"at a session's address": {access.Ask{Surface: access.Proxy, Verb: access.Open, Session: "ses-a", Secret: secret}, session.CodeUnauthorized},
		"a part of it":           {list(secret[:len(secret)-1]), session.CodeUnauthorized},
		"more than it":           {list(secret + "x"), session.CodeUnauthorized},
		"its digest":             {list(session.Secret(made.Digest)), session.CodeUnauthorized},
	} {
		_, err := a.Admit(t.Context(), c.ask, &known{})
		wantCode(t, name, err, c.code)
	}
	ctx, done := a.While(t.Context(), p)
	defer done()
	if _, err := r.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if p.StillHolds(session.Token{}, now) {
		t.Error("a revoked token still holds")
	}
	_, err = a.Admit(t.Context(), list(secret), &known{})
	wantCode(t, "revoked", err, session.CodeUnauthorized)
	_, err = r.Revoke(t.Context(), made.ID)
	wantCode(t, "revoked again", err, session.CodeNotFound)

	_, secret = issue(t, r, access.TokenRequest{Name: "ci", Scopes: access.ScopeRead, Life: time.Hour})
	now = now.Add(time.Hour)
	_, err = a.Admit(t.Context(), list(secret), &known{})
	if wantCode(t, "expired", err, session.CodeUnauthorized); !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v, want it to say that the token has expired", err)
	}
}

func TestPlatformTokensThatMayNotBeCreated(t *testing.T) {
	t.Parallel()
	r := registry(t, &storetest.MemoryTokens{}, nil)
	good := access.TokenRequest{Name: "ci", Scopes: access.ScopeRead}
	for name, change := range map[string]func(*access.TokenRequest){
		"no name":                 func(q *access.TokenRequest) { q.Name = "" },
		"a name of two words":     func(q *access.TokenRequest) { q.Name = "a b" },
		"a name with a new line":  func(q *access.TokenRequest) { q.Name = "ci\n" },
		"a name too long":         func(q *access.TokenRequest) { q.Name = strings.Repeat("a", 65) },
		"no scope":                func(q *access.TokenRequest) { q.Scopes = 0 },
		"an invisible owner":      func(q *access.TokenRequest) { q.Owner = "a\u200bb" },
		"a bound measuring token": func(q *access.TokenRequest) { q.Owner, q.Scopes = "alice", access.ScopeMetrics|access.ScopeRead },
		"a life too short":        func(q *access.TokenRequest) { q.Life = time.Second },
		"a life too long":         func(q *access.TokenRequest) { q.Life = 1 << 62 },
		"a negative life":         func(q *access.TokenRequest) { q.Life = -time.Hour },
	} {
		req := good
		change(&req)
		_, secret, err := r.Create(t.Context(), req)
		if wantCode(t, name, err, session.CodeInvalid); secret != "" {
			t.Errorf("%s: got a secret", name)
		}
	}
	issue(t, r, good)
	_, _, err := r.Create(t.Context(), good)
	wantCode(t, "a name that is taken", err, session.CodeConflict)
	for i := range access.MostTokens - 1 {
		issue(t, r, access.TokenRequest{Name: fmt.Sprint("t", i), Scopes: access.ScopeRead})
	}
	_, _, err = r.Create(t.Context(), access.TokenRequest{Name: "more", Scopes: access.ScopeRead})
	wantCode(t, "more than the most", err, session.CodeLimit)
}

// Without its store a registry goes on with what it knows, and acknowledges nothing.
func TestKnownTokensWorkWithoutTheStore(t *testing.T) {
	t.Parallel()
	store := &storetest.MemoryTokens{}
	r := registry(t, store, nil)
	a := authority(t, access.Options{Tokens: r})
	made, secret := issue(t, r, access.TokenRequest{Name: "ci", Scopes: access.ScopeRead})
	away := session.Errorf(session.CodeStoreUnavailable, "away")
	store.Fail(away)
	if err := r.Reload(t.Context()); err == nil {
		t.Fatal("the store is not away")
	}
	if _, err := a.Admit(t.Context(), list(secret), &known{}); err != nil {
		t.Errorf("a known token: got %v", err)
	}
	if all, err := r.List(t.Context()); err != nil || len(all) != 1 || all[0].LastUsedAt.IsZero() {
		t.Errorf("got %+v, %v, want the tokens in memory", all, err)
	}
	_, secret, err := r.Create(t.Context(), access.TokenRequest{Name: "other", Scopes: access.ScopeRead})
	if wantCode(t, "create", err, session.CodeStoreUnavailable); secret != "" {
		t.Error("a token that was not stored has a secret")
	}
	_, err = r.Revoke(t.Context(), made.ID)
	wantCode(t, "revoke", err, session.CodeStoreUnavailable)

	// A process that has never read the store does not call tokens wrong that it cannot check.
	blind := authority(t, access.Options{Tokens: registry(t, store, nil)})
	for name, c := range map[string]struct {
		ask  access.Ask
		code session.Code
	}{
		"platform token":        {list("berth_pat_of somebody"), session.CodeStoreUnavailable},
		"any other token":       {list("wrong"), session.CodeUnauthorized},
		"admin token":           {list(admin), ""},
		"everyone's address":    {access.Ask{Surface: access.API, Verb: access.Status, Secret: "berth_pat_of somebody"}, ""},
		"a session's address":   {access.Ask{Surface: access.Proxy, Verb: access.Open, Session: "ses-a", Secret: "berth_pat_x"}, session.CodeUnauthorized},
		"no token, which lists": {list(""), session.CodeUnauthorized},
	} {
		_, err := blind.Admit(t.Context(), c.ask, &known{})
		wantCode(t, name, err, c.code)
	}
	store.Fail(nil)
	if err := blind.Tokens.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = blind.Admit(t.Context(), list("berth_pat_of somebody"), &known{})
	wantCode(t, "a wrong token once the store was read", err, session.CodeUnauthorized)
}

// What another process changes is effective after its notification, and after half a minute without one.
func TestRegistryFollowsOtherProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &storetest.MemoryTokens{}
		here, there := registry(t, store, nil), registry(t, store, nil)
		a := authority(t, access.Options{Tokens: there})
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan struct{}, 1)
		over := make(chan error)
		go func() { over <- there.Run(ctx, changed) }()
		made, secret := issue(t, here, access.TokenRequest{Name: "ci", Scopes: access.ScopeRead})
		changed <- struct{}{}
		synctest.Wait()
		p, err := a.Admit(t.Context(), list(secret), &known{})
		if err != nil {
			t.Fatalf("created elsewhere: %v", err)
		}
		stream, done := a.While(t.Context(), p)
		defer done()
		revoke := func() {
			if _, err := here.Revoke(t.Context(), made.ID); err != nil {
				t.Fatal(err)
			}
		}
		revoke()
		changed <- struct{}{}
		synctest.Wait()
		if stream.Err() == nil {
			t.Error("a stream of a token that was revoked elsewhere goes on")
		}
		_, err = a.Admit(t.Context(), list(secret), &known{})
		wantCode(t, "revoked elsewhere", err, session.CodeUnauthorized)

		made, secret = issue(t, here, access.TokenRequest{Name: "ci", Scopes: access.ScopeRead})
		<-time.After(31 * time.Second)
		synctest.Wait()
		if _, err := a.Admit(t.Context(), list(secret), &known{}); err != nil {
			t.Errorf("without a notification: %v", err)
		}
		// A notification that arrives while the store is away is followed when it is back.
		store.Fail(session.Errorf(session.CodeStoreUnavailable, "away"))
		changed <- struct{}{}
		synctest.Wait()
		store.Fail(nil)
		revoke()
		<-time.After(2 * time.Second)
		synctest.Wait()
		_, err = a.Admit(t.Context(), list(secret), &known{})
		wantCode(t, "revoked while the store was away", err, session.CodeUnauthorized)
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

func TestLastUseIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &storetest.MemoryTokens{}
		r := registry(t, store, nil)
		a := authority(t, access.Options{Tokens: r})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- r.Run(ctx, nil) }()
		_, secret := issue(t, r, access.TokenRequest{Name: "ci", Scopes: access.ScopeRead})
		use := func() time.Time {
			if _, err := a.Admit(t.Context(), list(secret), &known{}); err != nil {
				t.Fatal(err)
			}
			return time.Now().UTC().Truncate(time.Microsecond)
		}
		stored := func() time.Time {
			all, err := store.PlatformTokens(t.Context())
			if err != nil || len(all) == 0 {
				t.Fatal(all, err)
			}
			return all[0].LastUsedAt
		}
		first := use()
		store.Fail(session.Errorf(session.CodeStoreUnavailable, "away")) // using a token does not wait for the store
		<-time.After(10 * time.Second)
		use()
		<-time.After(time.Minute)
		store.Fail(nil)
		if got := stored(); !got.IsZero() {
			t.Errorf("got %v from a store that was away", got)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if got := stored(); !got.Equal(first) {
			t.Errorf("got the last use %v, want %v, the only one within a minute", got, first)
		}
		last := use()
		cancel()
		if err := <-over; err != nil || !stored().Equal(last) {
			t.Errorf("got %v, %v after the end, want %v", stored(), err, last)
		}
	})
}

func TestTokensAreRemovedAWeekAfterTheirExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &storetest.MemoryTokens{}
		r := registry(t, store, nil)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- r.Run(ctx, nil) }()
		issue(t, r, access.TokenRequest{Name: "expires", Scopes: access.ScopeRead, Life: time.Hour})
		issue(t, r, access.TokenRequest{Name: "stays", Scopes: access.ScopeRead})
		names := func() (all []string) {
			tokens, err := store.PlatformTokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range tokens {
				all = append(all, v.Name)
			}
			return all
		}
		<-time.After(7 * 24 * time.Hour)
		if got := names(); len(got) != 2 {
			t.Errorf("within the week: got %v", got)
		}
		<-time.After(2 * time.Hour)
		if got := names(); len(got) != 1 || got[0] != "stays" {
			t.Errorf("after it: got %v", got)
		}
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

// A wrong platform token costs what any other wrong token costs: it is counted, and queries the store where a session's would.
func TestWrongPlatformTokensAreLimitedLikeOthers(t *testing.T) {
	t.Parallel()
	for _, secret := range []session.Secret{"berth_pat_0123456789012345678901234567890123456789", "any other token that is as long as the other one is"} {
		reasons := map[string]int{}
		a := authority(t, access.Options{
			Tokens: registry(t, &storetest.MemoryTokens{}, nil), Throttle: access.NewThrottle(),
			Rejected: func(_ access.Surface, reason string) { reasons[reason]++ },
			Trail:    access.NewTrail(slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)),
		})
		store := &known{}
		const tries = 30
		for range tries {
			_, err := a.Admit(t.Context(), access.Ask{Surface: access.API, Verb: access.Read, Session: "ses-a", Secret: secret}, store)
			if err == nil {
				t.Fatal("it was admitted")
			}
		}
		if store.asked != tries || reasons["wrong"] < access.Burst || reasons["limited"] == 0 || reasons["wrong"]+reasons["limited"] != tries {
			t.Errorf("%.10s…: got %v and %d queries, want a burst and then the limit", secret.Reveal(), reasons, store.asked)
		}
	}
}

// What a token has let in ends with it, also by its expiry, and on an instance that could not read the tokens yet.
func TestSignInsEndWithTheTokenOfTheirLink(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	store := &storetest.MemoryTokens{}
	r := registry(t, store, clock)
	a := authority(t, access.Options{Tokens: r, Now: clock})
	made, secret := issue(t, r, access.TokenRequest{Name: "ci", Scopes: access.ScopeOpen | access.ScopeRead, Life: time.Hour})
	p, err := a.Admit(t.Context(), list(secret), &known{})
	if err != nil || p.PlatformToken() != made.ID {
		t.Fatalf("got %+v, %v", p, err)
	}
	value, in := a.NewSignIn("browser")
	in.Token, in.ExpiresAt = string(made.ID), now.Add(24*time.Hour)
	open := access.Ask{Surface: access.Proxy, Verb: access.Open, Session: "ses-one"}
	admitted := func(a *access.Authority) (access.Principal, bool) {
		return a.AdmitSignIn(t.Context(), open, []session.Secret{value}, []session.SignIn{in})
	}
	if p, ok := admitted(a); !ok || !a.MayUse(in) || !p.Until.Equal(made.ExpiresAt) || p.PlatformToken() != "" {
		t.Errorf("got %+v, %v; want it until the token's expiry, and without its rights", p, ok)
	}
	if _, ok := admitted(authority(t, access.Options{})); ok {
		t.Error("it is admitted where no token is known")
	}
	now = now.Add(time.Hour)
	if _, ok := admitted(a); ok || a.MayUse(in) {
		t.Error("it is admitted after the token has expired")
	}
}
