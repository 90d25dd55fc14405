package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/waittest"
)

// abandon ends a process during its work: its calls to the engine end, and it records nothing more.
func (h *fixture) abandon(m *lifecycle.Manager) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	cancel()
	if err := m.Close(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// reached waits until the engine was called for this operation.
func (h *fixture) reached(op runtimetest.Op) {
	h.t.Helper()
	waittest.True(h.t, "the engine is called for "+string(op), func() bool { return len(h.Engine.Calls(op)) > 0 })
}

// settled waits until no operation is in progress and returns the session.
func (h *fixture) settled(id session.ID) session.Session {
	h.t.Helper()
	var s session.Session
	waittest.Until(h.t, "no operation is in progress", func() error {
		found, err := h.Store.Get(h.t.Context(), id)
		if session.CodeOf(err) == session.CodeNotFound {
			return nil
		}
		route, _ := h.Routes.Get(id) // published after the record is written
		if err != nil || found.Operation != nil || route.Running != (found.Status == session.Running) {
			return fmt.Errorf("session %s is %s, operation %+v, routed %v, %w", id, found.Status, found.Operation, route.Running, err)
		}
		s = found
		return nil
	})
	return s
}

// The first process ends at each step of a create; the second one completes it.
func TestInterruptedCreateIsFinishedByNextProcess(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]runtimetest.Op{
		"before the inspection": runtimetest.OpInspect,
		"before the container":  runtimetest.OpCreate,
		"before the start":      runtimetest.OpStart,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t)
				h.Engine.Script(op, runtimetest.Step{Until: make(chan struct{})})
				issued, err := h.Create(t.Context(), lifecycle.Request{})
				if err != nil {
					t.Fatal(err)
				}
				id := issued.Session().ID
				h.reached(op)
				h.abandon(h.Manager)
				h.Engine.ClearScript()

				h.Manager = h.Process()
				h.reconcile()
				s := h.settled(id)
				if route, _ := h.Routes.Get(id); s.Status != session.Running || !route.Running || !h.Keys.Matches(issued.Token, route.Token.Digest) {
					t.Errorf("got %s with route %+v, want it running and its token accepted", s.Status, route)
				}
				if all, _ := h.Engine.List(t.Context()); len(all) != 1 {
					t.Errorf("got %d containers, want 1", len(all))
				}
			})
		})
	}
}

func TestInterruptedOperationIsFinishedByNextProcess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begin func(*lifecycle.Manager, context.Context, session.ID) (*lifecycle.Work, error)
		op    runtimetest.Op
		want  session.Status
	}{
		"stop":                      {(*lifecycle.Manager).Stop, runtimetest.OpStop, session.Stopped},
		"delete":                    {(*lifecycle.Manager).Delete, runtimetest.OpRemove, ""},
		"delete before the volumes": {(*lifecycle.Manager).Delete, runtimetest.OpRemoveVolumes, ""},
		"restart":                   {(*lifecycle.Manager).Restart, runtimetest.OpStop, session.Running},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t)
				s, _ := h.Make(lifecycle.Request{})
				h.Engine.Script(c.op, runtimetest.Step{Until: make(chan struct{})})
				if _, err := c.begin(h.Manager, t.Context(), s.ID); err != nil {
					t.Fatal(err)
				}
				h.reached(c.op)
				h.abandon(h.Manager)
				h.Engine.ClearScript()
				h.Manager = h.Process()
				h.reconcile()
				if got := h.settled(s.ID); got.Status != c.want {
					t.Errorf("got %q, want %q", got.Status, c.want)
				}
			})
		})
	}
}

func TestOperationOfLiveProcessIsKeptUntilDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		peers := &peers{living: map[string]bool{"first": true}}
		h := newFixture(t, func(o *lifecycle.Options) { o.Process, o.Peers = "first", peers })
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpCreate, runtimetest.Step{Until: release})
		issued, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		h.Options.Process = "second"
		other := h.Process()
		if err := other.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = other.Restart(t.Context(), issued.Session().ID)
		wantCode(t, err, session.CodeInProgress, "restart by another process")
		if s := h.stored(issued.Session().ID); s.Operation.Kind != session.OpCreate {
			t.Errorf("got operation %+v, want the create unchanged", s.Operation)
		}
		h.Clock.Advance(time.Hour)
		if _, err := other.Restart(t.Context(), issued.Session().ID); session.CodeOf(err) == session.CodeInProgress {
			t.Errorf("restart after the deadline: %v", err)
		}
		close(release)
		h.abandon(other)
	})
}

func TestDeletePreemptsCreate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		h.Engine.Behave("", runtimetest.Behaviour{Mute: true})
		issued, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := h.do(h.Delete, issued.Session().ID); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("the delete waited %s for the create's time-out", took)
		}
		_, err = issued.Wait(t.Context())
		wantCode(t, err, session.CodeCanceled, "the create")
		if left, _ := h.Engine.List(t.Context()); len(left) != 0 || len(h.Engine.Volumes()) != 0 {
			t.Errorf("after the delete: containers %v, volumes %v", left, h.Engine.Volumes())
		}
	})
}

func TestSecondOperationIsInProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Until: release})
		stop, err := h.Stop(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.Start(t.Context(), s.ID)
		wantCode(t, err, session.CodeInProgress, "start while it stops")
		if f, ok := errors.AsType[*session.Failure](err); !ok || f.RetryAfter <= 0 {
			t.Errorf("got %v, want a retry time", err)
		}
		joined, err := h.Stop(t.Context(), s.ID)
		if err != nil {
			t.Fatalf("second stop: %v; want it to join the first", err)
		}
		close(release)
		for _, w := range []*lifecycle.Work{stop, joined} {
			if s, err := w.Wait(t.Context()); err != nil || s.Status != session.Stopped {
				t.Errorf("got %s, %v; want stopped", s.Status, err)
			}
		}
		if n := len(h.Engine.Calls(runtimetest.OpStop)); n != 1 {
			t.Errorf("the engine was called %d times to stop, want once", n)
		}
	})
}

func TestOperationContinuesWhenCallerDisconnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpCreate, runtimetest.Step{Until: release})
		issued, err := h.Create(ctx, lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_, err = issued.Wait(ctx)
		wantCode(t, err, session.CodeCanceled, "wait")
		close(release)
		if s, err := issued.Wait(t.Context()); err != nil || s.Status != session.Running {
			t.Errorf("got %s, %v; want running", s.Status, err)
		}
	})
}

func TestShortStoreOutageDelaysCompletion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Until: release})
		stop, err := h.Stop(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		h.Store.Fail("Update", session.Errorf(session.CodeStoreUnavailable, "disk full"))
		close(release)
		time.AfterFunc(300*time.Millisecond, func() { h.Store.Fail("Update", nil) })
		if s, err := stop.Wait(t.Context()); err != nil || s.Status != session.Stopped {
			t.Errorf("got %s, %v; want stopped", s.Status, err)
		}
	})
}
