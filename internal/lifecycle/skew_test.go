package lifecycle_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

// The clocks of two instances differ by more than an operation may take. No instance takes over the other's operation while the
// other one is alive and within the time allowed.
func TestClockSkewDoesNotCauseTakeover(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t)
				others := &peers{living: map[string]bool{"first": true, "second": true}, foreign: map[session.ID]bool{}}
				first, _ := h.OtherProcess(func(o *lifecycle.Options) { o.Process, o.Peers, o.ReconcileEvery = "first", others, time.Hour })
				h.Options.Process, h.Options.Peers = "second", others
				var more atomic.Int64
				h.Options.Now = func() time.Time { return time.Now().Add(ahead + time.Duration(more.Load())) }
				second := h.Process()
				t.Cleanup(func() { h.abandon(second) })

				release := make(chan struct{})
				h.Engine.Script(runtimetest.OpStart, runtimetest.Step{Until: release})
				issued, err := first.Create(t.Context(), lifecycle.Request{})
				if err != nil {
					t.Fatal(err)
				}
				h.reached(runtimetest.OpStart)
				for range 3 {
					if err := second.Reconcile(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if now := h.stored(issued.Session().ID); now.Operation == nil || now.Operation.Owner != "first" {
					t.Errorf("got %+v, want the create of the first instance", now.Operation)
				}
				close(release)
				if s, err := issued.Wait(t.Context()); err != nil || s.Status != session.Running {
					t.Errorf("got %s, %v; want the create completed by the first instance", s.Status, err)
				}

				// An operation that exceeds the time allowed is taken over, whatever its recorded deadline.
				h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Until: make(chan struct{})})
				w, err := first.Stop(t.Context(), issued.Session().ID)
				if err != nil {
					t.Fatal(err)
				}
				h.reached(runtimetest.OpStop)
				if err := second.Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
				more.Store(int64(time.Hour))
				if err := second.Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
				_, err = w.Wait(t.Context())
				wantCode(t, err, session.CodeCanceled, "the stop that hangs")
				h.waitFor(t, w.Session().ID, "stopped", isStopped)
			})
		})
	}
}

// A start is requested again on an instance that still runs the first one and has not been notified of a later delete on another
// instance. The record decides, not the superseded operation.
func TestRequestDoesNotJoinTakenOverOperation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		others := &peers{living: map[string]bool{"first": true, "second": true}, foreign: map[session.ID]bool{}}
		h.Options.Peers, h.Options.Handover = others, time.Millisecond
		h.Options.Process = "first"
		first := h.Process() // without a feed: it is not notified
		t.Cleanup(func() { h.abandon(first) })
		h.Options.Process = "second"
		second := h.Process()
		t.Cleanup(func() { h.abandon(second) })

		s, _ := h.Make(lifecycle.Request{})
		if _, err := h.do(second.Stop, s.ID); err != nil {
			t.Fatal(err)
		}
		h.Engine.Script(runtimetest.OpStart, runtimetest.Step{Until: make(chan struct{})})
		started, err := first.Start(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpRemove, runtimetest.Step{Until: release})
		deleted, err := second.Delete(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, err = first.Start(t.Context(), s.ID)
		wantCode(t, err, session.CodeConflict, "a start after the delete")
		_, err = started.Wait(t.Context())
		wantCode(t, err, session.CodeCanceled, "the start before it")
		close(release)
		if _, err := deleted.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
