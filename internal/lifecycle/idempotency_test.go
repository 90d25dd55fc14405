package lifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

func TestRepeatedCreateReturnsSessionWithNewToken(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	req := lifecycle.Request{Owner: "alice", IdempotencyKey: "order-1", Metadata: map[string]any{"n": 1.0}}
	first, old := h.Make(req)
	again, err := h.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	s, err := again.Wait(t.Context())
	if err != nil || s.ID != first.ID || !again.Replayed {
		t.Errorf("got %s, replayed %v, %v; want %s again", s.ID, again.Replayed, err, first.ID)
	}
	route, _ := h.Routes.Get(s.ID)
	if h.Keys.Matches(old, route.Token.Digest) || !h.Keys.Matches(again.Token, route.Token.Digest) {
		t.Error("want the new token to be the only valid one")
	}
	if n := len(h.Engine.Calls(runtimetest.OpCreate)); n != 1 {
		t.Errorf("%d containers were created, want one", n)
	}
	other := req
	other.Owner = "bob"
	if s, _ := h.Make(other); s.ID == first.ID {
		t.Error("another owner's key led to the same session")
	}
}

// Who may create sessions does not get the token of a session that somebody else has created, by guessing its key.
func TestIdempotencyKeysOfCreatorsAreApart(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	ids := map[session.ID]string{}
	for _, creator := range []string{"", "token:one", "token:two"} {
		req := lifecycle.Request{Owner: "alice", IdempotencyKey: "order-1", Creator: creator}
		s, _ := h.Make(req)
		if other, known := ids[s.ID]; known {
			t.Errorf("%q got the session of %q", creator, other)
		}
		ids[s.ID] = creator
		if again, err := h.Create(t.Context(), req); err != nil || !again.Replayed || again.Session().ID != s.ID {
			t.Errorf("%q again: got %v, want the same session", creator, err)
		}
	}
}

func TestIdempotencyKeyOfDifferentRequestIsRefused(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.Make(lifecycle.Request{IdempotencyKey: "k"})
	_, err := h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k", Metadata: map[string]any{"other": true}})
	wantCode(t, err, session.CodeIdempotencyMismatch, "same key, different request")
}

func TestRepeatedIdempotencyKeyDuringCreateIsInProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpCreate, runtimetest.Step{Until: release})
		first, err := h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k"})
		wantCode(t, err, session.CodeInProgress, "repeated during the create")
		close(release)
		if _, err := first.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRepeatedCreateAfterFailureRetries(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.Engine.Script(runtimetest.OpStart, runtimetest.Step{Err: session.Errorf(session.CodePortTaken, "taken")})
	first, err := h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = first.Wait(t.Context())
	wantCode(t, err, session.CodePortTaken, "first attempt")
	s, _ := h.Make(lifecycle.Request{IdempotencyKey: "k"})
	if s.ID != first.Session().ID || s.Status != session.Running {
		t.Errorf("got %s %s, want session %s to run now", s.ID, s.Status, first.Session().ID)
	}
}

func TestIdempotencyKeyOfDeletedSessionCreatesNewSession(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{IdempotencyKey: "k"})
	if _, err := h.do(h.Delete, s.ID); err != nil {
		t.Fatal(err)
	}
	_, token := h.Make(lifecycle.Request{IdempotencyKey: "k"})
	if route, _ := h.Routes.Get(s.ID); !route.Running || !h.Keys.Matches(token, route.Token.Digest) {
		t.Errorf("got route %+v, want the new session reachable by its own token", route)
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	long := make([]byte, 256)
	for i := range long {
		long[i] = 'x'
	}
	for name, req := range map[string]lifecycle.Request{
		"long owner":      {Owner: string(long)},
		"line break":      {Owner: "a\nb"},
		"not UTF-8":       {Owner: "\xff"},
		"unknown profile": {Profile: "unknown"},
		"large metadata":  {Metadata: map[string]any{"x": string(make([]byte, 70<<10))}},
		"long key":        {IdempotencyKey: string(long)},
	} {
		_, err := h.Create(t.Context(), req)
		wantCode(t, err, session.CodeInvalid, name)
	}
}

// The record already shows a running session while the work is about to end.
func TestRepeatedCreateWhileFirstConcludesReturnsSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		recorded, end := make(chan struct{}), make(chan struct{})
		h := newFixture(t, func(o *lifecycle.Options) {
			o.Sink = results(func(p lifecycle.OperationResult) {
				if p.Operation == string(session.OpCreate) && !p.Refused {
					close(recorded)
					<-end
				}
			})
		})
		first, err := h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k"})
		if err != nil {
			t.Fatal(err)
		}
		<-recorded
		time.AfterFunc(50*time.Millisecond, func() { close(end) })
		again, err := h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k"})
		if err != nil || !again.Replayed || again.Session().ID != first.Session().ID {
			t.Errorf("repeated: got %+v, %v; want the session of the first", again, err)
		}
	})
}
