package lifecycle_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// tokenState returns the state of a token, which must be the same by the record and by the published route.
func (h *fixture) tokenState(t *testing.T, id session.ID, token session.Secret) access.TokenState {
	t.Helper()
	route, _ := h.Routes.Get(id)
	recorded, published := h.Keys.Check(token, h.stored(id).Token, h.Options.Now()), h.Keys.Check(token, route.Token, h.Options.Now())
	if recorded != published {
		t.Errorf("by its record the token is %s, by its route %s", recorded, published)
	}
	return recorded
}

func TestReplacedTokenIsValidDuringGrace(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, first := h.Make(lifecycle.Request{})
	rotate := func(grace time.Duration) session.Secret {
		t.Helper()
		_, token, err := h.RotateWithGrace(t.Context(), s.ID, grace)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	want := func(when string, wanted map[session.Secret]access.TokenState) {
		t.Helper()
		for token, state := range wanted {
			if got := h.tokenState(t, s.ID, token); got != state {
				t.Errorf("%s: got a token that is %s, want %s", when, got, state)
			}
		}
	}
	second := rotate(30 * time.Second)
	want("in the grace", map[session.Secret]access.TokenState{first: access.Previous, second: access.Present})
	third := rotate(time.Minute)
	want("in the next grace", map[session.Secret]access.TokenState{first: access.Wrong, second: access.Previous, third: access.Present})

	h.Routes.Clear() // as in a new process
	if err := h.Process().Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("after a restart", map[session.Secret]access.TokenState{second: access.Previous, third: access.Present})
	h.Clock.Advance(time.Minute)
	want("after the grace", map[session.Secret]access.TokenState{second: access.Wrong, third: access.Present})

	fourth := rotate(time.Minute)
	fifth := rotate(0)
	want("without a grace", map[session.Secret]access.TokenState{third: access.Wrong, fourth: access.Wrong, fifth: access.Present})

	h.Clock.Advance(24*time.Hour - 30*time.Second)
	sixth := rotate(10 * time.Minute)
	if got := h.stored(s.ID); !got.Token.PreviousExpiresAt.Before(h.Options.Now().Add(time.Minute)) {
		t.Errorf("the grace ends at %s, want no later end than the token's expiry", got.Token.PreviousExpiresAt)
	}
	h.Clock.Advance(25 * time.Hour)
	want("after the expiry", map[session.Secret]access.TokenState{sixth: access.Expired})
	seventh := rotate(time.Minute)
	want("rotated after its expiry", map[session.Secret]access.TokenState{sixth: access.Wrong, seventh: access.Present})

	for _, grace := range []time.Duration{-1, lifecycle.MaxGrace + 1} {
		_, _, err := h.RotateWithGrace(t.Context(), s.ID, grace)
		wantCode(t, err, session.CodeInvalid, "a grace out of bounds")
	}
	want("after a refused rotation", map[session.Secret]access.TokenState{seventh: access.Present})
}

// Another process is notified of a grace as of a rotation.
func TestGraceHoldsOnEveryInstance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		s, old := w.create()
		_, fresh, err := w.RotateOn(t.Context(), w.second, s.ID, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		w.eventually("the first process accepts both tokens", routed(w.routes1, s.ID, func(r session.Route, _ bool) bool {
			now := w.Options.Now()
			return w.Keys.Check(old, r.Token, now) == access.Previous && w.Keys.Check(fresh, r.Token, now) == access.Present
		}))
	})
}

func TestSweepRemovesExpiredDigests(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	counted := 0
	h := newFixture(t, func(o *lifecycle.Options) {
		o.Sink = sweeps(func(n int) { mu.Lock(); defer mu.Unlock(); counted += n })
	})
	expired, old := h.Make(lifecycle.Request{})
	h.Clock.Advance(24 * time.Hour)
	graced, first := h.Make(lifecycle.Request{})
	_, second, err := h.RotateWithGrace(t.Context(), graced.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	good, token := h.Make(lifecycle.Request{})
	h.Clock.Advance(time.Hour)
	before := h.stored(good.ID)

	if n, err := h.SweepTokens(t.Context()); n != 2 || err != nil {
		t.Errorf("got %d swept, %v; want the expired one and the one after its grace", n, err)
	}
	if n, err := h.Process().SweepTokens(t.Context()); n != 0 || err != nil {
		t.Errorf("another process: got %d swept, %v; want none", n, err)
	}
	if counted != 2 {
		t.Errorf("counted %d, want 2", counted)
	}
	if got := h.stored(expired.ID); got.Token.Digest != "" || got.Token.ExpiresAt.IsZero() || got.Token.Valid(h.Options.Now()) {
		t.Errorf("got %+v, want no digest and the dates as they were", got)
	}
	if got := h.stored(graced.ID); got.Token.PreviousDigest != "" || !got.Token.PreviousExpiresAt.IsZero() {
		t.Errorf("got %+v, want no previous token", got)
	}
	if after := h.stored(good.ID); after.Revision != before.Revision {
		t.Errorf("a session with a valid token was written: revision %d, then %d", before.Revision, after.Revision)
	}
	for _, c := range []struct {
		id    session.ID
		token session.Secret
		want  access.TokenState
	}{
		{expired.ID, old, access.Wrong},
		{expired.ID, "never seen", access.Wrong},
		{graced.ID, first, access.Wrong},
		{graced.ID, second, access.Present},
		{good.ID, token, access.Present},
	} {
		if got := h.tokenState(t, c.id, c.token); got != c.want {
			t.Errorf("%s: got a token that is %s, want %s", c.id, got, c.want)
		}
	}
	_, fresh, err := h.Rotate(t.Context(), expired.ID)
	if err != nil || h.tokenState(t, expired.ID, fresh) != access.Present {
		t.Errorf("rotation of a swept session: %v", err)
	}
}

func TestSweepSkipsSessionsOfOtherProcesses(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(o *lifecycle.Options) { o.Peers = &foreignPeers{} })
	s, _ := h.Make(lifecycle.Request{})
	h.Clock.Advance(25 * time.Hour)
	if n, err := h.SweepTokens(t.Context()); n != 0 || err != nil || h.stored(s.ID).Token.Digest == "" {
		t.Errorf("got %d swept, %v; want another process's session unchanged", n, err)
	}
}

// foreignPeers assigns every session to other processes.
type foreignPeers struct{ peers }

// Mine implements session.Peers.
func (*foreignPeers) Mine(session.ID) bool { return false }
