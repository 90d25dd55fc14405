package lifecycle_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

// staleListEngine is an engine whose lists are out of date when they are returned, because meanwhile runs first.
type staleListEngine struct {
	session.Runtime
	meanwhile func()
}

func (e *staleListEngine) List(ctx context.Context) ([]session.Container, error) {
	all, err := e.Runtime.List(ctx)
	if meanwhile := e.meanwhile; meanwhile != nil {
		e.meanwhile = nil
		meanwhile()
	}
	return all, err
}

func TestReconcilerIgnoresStaleList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		engine := &staleListEngine{Runtime: h.Engine}
		h.Manager = h.ProcessOn(engine)
		var id session.ID
		agree := func(when string) {
			t.Helper()
			s := h.stored(id)
			c, err := h.Engine.Inspect(t.Context(), s.ContainerName)
			route, _ := h.Routes.Get(id)
			up := err == nil && c.State == session.StateRunning
			if (s.Status == session.Running) != up || route.Running != up || s.LastError != "" || up && route.Address != c.Address {
				t.Errorf("%s: the session is %s (%s), its container %s at %q, its route %v %q",
					when, s.Status, s.LastError, c.State, c.Address, route.Running, route.Address)
			}
		}
		for _, c := range []struct {
			when string
			deed func()
		}{
			{"created meanwhile", func() { s, _ := h.Make(lifecycle.Request{}); id = s.ID }},
			{"restarted meanwhile", func() { h.must(h.Restart) }},
			{"stopped meanwhile", func() { h.must(h.Stop) }},
			{"started meanwhile", func() { h.must(h.Start) }},
		} {
			h.target = func() session.ID { return id }
			engine.meanwhile = c.deed
			h.reconcile()
			h.settled(id)
			agree(c.when)
		}
		engine.meanwhile = func() { h.must(h.Delete) }
		h.reconcile()
		if _, routed := h.Routes.Get(id); routed {
			t.Error("deleted meanwhile: the route was published again")
		}
	})
}

func TestManagerIsReadyDespiteOneFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		h.Make(lifecycle.Request{})
		h.orphan("berth-orphan")
		h.reconcile()
		h.Clock.Advance(time.Hour)
		h.Engine.Script(runtimetest.OpRemove, runtimetest.Step{Times: -1, Err: session.Errorf(session.CodeInternal, "driver failed to remove root filesystem")})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ready := false
		if err := h.Run(ctx, func() { ready = true; cancel() }); err != nil || !ready {
			t.Errorf("got ready %v, %v; want ready although an orphan cannot be removed", ready, err)
		}
	})
}

func TestPausedSessionIsRoutedAfterProcessRestart(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, token := h.Make(lifecycle.Request{})
	h.Engine.SetState(s.ContainerName, session.StatePaused)
	h.abandon(h.Manager)
	h.Routes.Clear()
	h.Manager = h.Process()
	h.reconcile()
	if route, ok := h.Routes.Get(s.ID); !ok || route.Running || !h.Keys.Matches(token, route.Token.Digest) {
		t.Errorf("got route %+v, %v; want one with the token and without a server", route, ok)
	}
	h.Engine.SetState(s.ContainerName, session.StateRunning)
	h.reconcile()
	if route, _ := h.Routes.Get(s.ID); !route.Running {
		t.Error("the session is still not reachable")
	}
}

func TestFailedDeleteIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Script(runtimetest.OpRemoveVolumes, runtimetest.Step{Err: session.Errorf(session.CodeEngineUnavailable, "unavailable")})
		_, err := h.do(h.Delete, s.ID)
		wantCode(t, err, session.CodeEngineUnavailable, "delete without an engine")
		_, err = h.Start(t.Context(), s.ID)
		wantCode(t, err, session.CodeConflict, "start of a session that is being deleted")
		h.Clock.Advance(time.Minute)
		h.reconcile()
		if left := h.settled(s.ID); left.ID != "" {
			t.Errorf("got %+v, want the session deleted", left)
		}
		if left := h.Engine.Volumes(); len(left) != 0 {
			t.Errorf("got volumes %v, want none", left)
		}
	})
}

// rotatingStore rotates the token between a read of the session and the update that is based on it.
type rotatingStore struct {
	session.Store
	rotate func()
}

func (s *rotatingStore) Get(ctx context.Context, id session.ID) (session.Session, error) {
	found, err := s.Store.Get(ctx, id)
	if rotate := s.rotate; rotate != nil {
		s.rotate = nil
		rotate()
	}
	return found, err
}

func TestOperationSucceedsDespiteConcurrentRotation(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	store := &rotatingStore{Store: h.Store.Store}
	h.Store.Store = store
	store.rotate = func() {
		if _, _, err := h.Rotate(t.Context(), s.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := h.do(h.Delete, s.ID); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// A session of which the record changes while a new process inspects its container is served: the observed address must not be
// discarded with the outdated record.
func TestSessionChangedDuringAdoptionIsServed(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.abandon(h.Manager)
	h.Routes.Clear()
	store := &rotatingStore{Store: h.Store.Store}
	h.Store.Store = store
	h.Manager = h.Process()
	var fresh session.Secret
	store.rotate = func() {
		var err error
		if _, fresh, err = h.Rotate(t.Context(), s.ID); err != nil {
			t.Error(err)
		}
	}
	h.reconcile()
	if route, _ := h.Routes.Get(s.ID); fresh == "" || !route.Running || !h.Keys.Matches(fresh, route.Token.Digest) {
		t.Errorf("got route %+v, want the running session with its new token %q", route, fresh)
	}
}

func TestShutdownCancelsCleanup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		h.Engine.Behave("", runtimetest.Behaviour{Exits: true, ExitCode: 1})
		h.Engine.Script(runtimetest.OpRemove, runtimetest.Step{Until: make(chan struct{})}) // never
		issued, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		h.reached(runtimetest.OpRemove)
		begun := time.Now()
		h.abandon(h.Manager)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the shutdown waited %s for a clean-up", took)
		}
		if s := h.stored(issued.Session().ID); s.Operation == nil {
			t.Errorf("got %+v, want the operation left for the next process", s)
		}
	})
}

func TestRepeatedCreateSucceedsAfterDefaultImageChange(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{IdempotencyKey: "k"})
	h.abandon(h.Manager)
	p := sessiontest.Profile()
	p.Image = "stub:2"
	h.Options.Profiles = map[string]session.Profile{"opencode": p}
	h.Manager = h.Process()
	h.reconcile()
	again, err := h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k"})
	if err != nil || again.Session().ID != s.ID {
		t.Errorf("got %v, want session %s again", err, s.ID)
	}
	_, err = h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "k", Image: "stub:2"})
	wantCode(t, err, session.CodeIdempotencyMismatch, "a different image")
}
