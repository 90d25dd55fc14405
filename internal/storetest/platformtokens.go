package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/access"
	"berth/internal/session"
)

// OpenTokens is [Open] for a store of platform tokens.
type OpenTokens func(t *testing.T) access.TokenStore

// RunTokens tests the contract of [access.TokenStore], as [Run] does for sessions.
func RunTokens(t *testing.T, open OpenTokens) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, access.TokenStore)
	}{
		{"an empty store has no tokens", noTokens},
		{"every field of a token comes back", tokenFields},
		{"tokens are listed in the order of their creation", tokenOrder},
		{"a taken name is a conflict", tokenNameTaken},
		{"the limit of tokens is kept", tokenLimit},
		{"a revoked token is gone, and its name free", tokenDeleted},
		{"the last use moves forward only", tokenTouched},
		{"creates of tokens in a race do not pass the limit", tokenRace},
		{"a cancelled caller changes no tokens", tokenCancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

const manyTokens = 100

// token returns a token with a name, and every other required field.
func token(name string) access.PlatformToken {
	return access.PlatformToken{
		ID: access.NewTokenID(), Name: name, Scopes: access.ScopeRead, Digest: strings.Repeat("0", 64-len(name)) + name,
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), CreatedBy: "operator",
	}
}

func createToken(t *testing.T, s access.TokenStore, v access.PlatformToken) {
	t.Helper()
	if err := s.CreatePlatformToken(t.Context(), v, manyTokens); err != nil {
		t.Fatalf("create the token %s: %v", v.Name, err)
	}
}

func wantTokens(t *testing.T, s access.TokenStore, want ...access.PlatformToken) {
	t.Helper()
	got, err := s.PlatformTokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}

func noTokens(t *testing.T, s access.TokenStore) { wantTokens(t, s) }

func tokenFields(t *testing.T, s access.TokenStore) {
	every, err := access.ParseScopes(access.ScopeNames())
	if err != nil {
		t.Fatal(err)
	}
	full, empty := token("full"), token("least")
	full.Scopes, full.Owner, full.CreatedBy = every, "ålice \"the\" ownér", "operator:carol"
	full.ExpiresAt, full.LastUsedAt = full.CreatedAt.Add(time.Hour), full.CreatedAt.Add(time.Minute)
	empty.CreatedAt = full.CreatedAt.Add(time.Microsecond)
	createToken(t, s, full)
	createToken(t, s, empty)
	wantTokens(t, s, full, empty)
}

func tokenOrder(t *testing.T, s access.TokenStore) {
	late, early, same := token("late"), token("early"), token("same")
	late.CreatedAt = late.CreatedAt.Add(time.Second)
	early.ID, same.ID = "tok-aaaaaaaaaaaaaaaa", "tok-bbbbbbbbbbbbbbbb"
	for _, v := range []access.PlatformToken{late, same, early} {
		createToken(t, s, v)
	}
	wantTokens(t, s, early, same, late)
}

func tokenNameTaken(t *testing.T, s access.TokenStore) {
	first := token("ci")
	createToken(t, s, first)
	again := token("ci")
	again.Digest = strings.Repeat("1", 64)
	if err := s.CreatePlatformToken(t.Context(), again, manyTokens); session.CodeOf(err) != session.CodeConflict {
		t.Errorf("a second token of that name: got %v, want a conflict", err)
	}
	if err := s.CreatePlatformToken(t.Context(), again, 1); session.CodeOf(err) != session.CodeConflict {
		t.Errorf("a second token of that name in a full store: got %v, want a conflict", err)
	}
	wantTokens(t, s, first)
}

func tokenLimit(t *testing.T, s access.TokenStore) {
	createToken(t, s, token("one"))
	createToken(t, s, token("two"))
	if err := s.CreatePlatformToken(t.Context(), token("three"), 2); session.CodeOf(err) != session.CodeLimit {
		t.Errorf("the third of two tokens: got %v, want the limit", err)
	}
}

func tokenDeleted(t *testing.T, s access.TokenStore) {
	first, other := token("ci"), token("other")
	createToken(t, s, first)
	createToken(t, s, other)
	if err := s.DeletePlatformToken(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	wantTokens(t, s, other)
	if err := s.DeletePlatformToken(t.Context(), first.ID); session.CodeOf(err) != session.CodeNotFound {
		t.Errorf("revoked again: got %v, want not_found", err)
	}
	createToken(t, s, token("ci"))
}

func tokenTouched(t *testing.T, s access.TokenStore) {
	used, other := token("used"), token("other")
	other.CreatedAt = other.CreatedAt.Add(time.Second)
	createToken(t, s, used)
	createToken(t, s, other)
	late := used.CreatedAt.Add(time.Hour)
	for _, at := range []time.Time{late, late.Add(-time.Minute)} {
		if err := s.TouchPlatformTokens(t.Context(), map[access.TokenID]time.Time{used.ID: at, "tok-unknown": at}); err != nil {
			t.Fatal(err)
		}
	}
	used.LastUsedAt = late
	wantTokens(t, s, used, other)
}

func tokenRace(t *testing.T, s access.TokenStore) {
	const most, racers = 3, 12
	var created atomic.Int32
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			switch err := s.CreatePlatformToken(t.Context(), token(fmt.Sprint("racer-", i)), most); session.CodeOf(err) {
			case "":
				created.Add(1)
			case session.CodeLimit:
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := s.PlatformTokens(t.Context()); err != nil || len(got) != most || created.Load() != most {
		t.Errorf("got %d tokens of %d creates that succeeded, %v, want %d", len(got), created.Load(), err, most)
	}
}

func tokenCancelled(t *testing.T, s access.TokenStore) {
	first := token("ci")
	createToken(t, s, first)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.CreatePlatformToken(ctx, token("late"), manyTokens); session.CodeOf(err) != session.CodeCanceled {
		t.Errorf("create: got %v, want canceled", err)
	}
	if err := s.DeletePlatformToken(ctx, first.ID); session.CodeOf(err) != session.CodeCanceled {
		t.Errorf("delete: got %v, want canceled", err)
	}
	wantTokens(t, s, first)
}
