package lifecycle_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
	"berth/internal/waittest"
)

var errUnavailable = session.Errorf(session.CodeEngineUnavailable, "the engine is unavailable")

// A create that another process has taken over and completed fails late in the first process, which undoes nothing.
func TestTakenOverCreateUndoesNothing(t *testing.T) {
	t.Parallel()
	for name, behaviour := range map[string]struct {
		op   runtimetest.Op
		step runtimetest.Step
	}{
		"time-out":                 {runtimetest.OpStart, runtimetest.Step{Delay: time.Hour}},
		"engine error":             {runtimetest.OpStart, runtimetest.Step{Delay: 300 * time.Millisecond, Err: session.Errorf(session.CodeStartFailed, "no")}},
		"conflict at the creation": {runtimetest.OpCreate, runtimetest.Step{Delay: 300 * time.Millisecond, Err: session.Errorf(session.CodeConflict, "there is one")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				peers := &peers{living: map[string]bool{"second": true}} // the lease of the first process has expired
				h := newFixture(t, func(o *lifecycle.Options) {
					o.Process, o.Peers, o.StartTimeout = "first", peers, time.Second
				})
				h.Engine.Script(behaviour.op, behaviour.step)
				issued, err := h.Create(t.Context(), lifecycle.Request{})
				if err != nil {
					t.Fatal(err)
				}
				id := issued.Session().ID
				h.reached(behaviour.op)

				h.Options.Process = "second"
				second := h.Process()
				t.Cleanup(func() { h.abandon(second) })
				if err := second.Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
				h.waitFor(t, id, "finished by the second process", func(now session.Session, _ lifecycle.Health) bool {
					return now.Status == session.Running && now.Operation == nil
				})
				_, err = issued.Wait(t.Context())
				wantCode(t, err, session.CodeCanceled, "the create of the first process")

				now := h.stored(id)
				c, err := h.Engine.Inspect(t.Context(), now.ContainerName)
				if err != nil || c.State != session.StateRunning || now.Status != session.Running {
					t.Errorf("the session is %s and its container %q (%v), want both running", now.Status, c.State, err)
				}
				if volumes := h.Engine.Volumes(); len(volumes) == 0 {
					t.Error("the workspace was removed")
				}
			})
		})
	}
}

// If the store cannot confirm the owner of an operation, a failure undoes nothing.
func TestFailedCreateUndoesNothingDuringStoreOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t, func(o *lifecycle.Options) { o.StartTimeout = 200 * time.Millisecond })
		h.Engine.Behave("", runtimetest.Behaviour{Mute: true})
		issued, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		h.reached(runtimetest.OpStart)
		h.Store.Fail("Get", session.Errorf(session.CodeStoreUnavailable, "unavailable"))
		<-time.After(500 * time.Millisecond)
		if calls := h.Engine.Calls(runtimetest.OpRemove, runtimetest.OpRemoveVolumes, runtimetest.OpStop); len(calls) != 0 {
			t.Errorf("without a store: got %v, want nothing undone", calls)
		}
		h.Store.Fail("Get", nil)
		if _, err := issued.Wait(t.Context()); session.CodeOf(err) != session.CodeStartTimeout {
			t.Errorf("got %v, want the create to end", err)
		}
		h.reconcile() // undoes the rest
		h.waitFor(t, issued.Session().ID, "nothing runs", func(now session.Session, _ lifecycle.Health) bool {
			c, err := h.Engine.Inspect(t.Context(), now.ContainerName)
			return now.Status == session.Error && (err != nil || c.State != session.StateRunning)
		})
	})
}

// A stop that fails at the engine is retried, and the session does not count as running.
func TestFailedStopIsRetriedUntilStopped(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"engine unavailable": errUnavailable,
		"engine conflict":    session.Errorf(session.CodeConflict, "not now"),
		"unknown error":      session.Errorf(session.CodeInternal, "what"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t)
				s, _ := h.Make(lifecycle.Request{})
				h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Times: 2, Err: err})
				if _, err := h.do(h.Stop, s.ID); err == nil {
					t.Fatal("the stop succeeded on an engine that fails")
				}
				h.waitFor(t, s.ID, "stopped", func(now session.Session, v lifecycle.Health) bool {
					if route, _ := h.Routes.Get(s.ID); now.Status == session.Running || now.Status == session.Error && now.LastError == "" || route.Running {
						t.Fatalf("after a reconciliation: got %+v, want it stopped, or the reason of the failure", now)
					}
					h.Clock.Advance(20 * time.Second)
					h.reconcile()
					return isStopped(now, v)
				})
				if c, err := h.Engine.Inspect(t.Context(), s.ContainerName); err != nil || c.State != session.StateStopped {
					t.Errorf("got container %q, %v; want it stopped", c.State, err)
				}
			})
		})
	}
}

// A later command replaces a stop that has failed, on every process.
func TestStartPreemptsFailedStop(t *testing.T) {
	t.Parallel()
	peers := &peers{living: map[string]bool{"first": true, "second": true}}
	h := newFixture(t, func(o *lifecycle.Options) { o.Process, o.Peers = "first", peers })
	s, _ := h.Make(lifecycle.Request{})
	h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Err: errUnavailable})
	_, err := h.do(h.Stop, s.ID)
	wantCode(t, err, session.CodeEngineUnavailable, "stop")
	h.Options.Process = "second"
	second := h.Process()
	t.Cleanup(func() { h.abandon(second) })
	if now, err := h.do(second.Start, s.ID); err != nil || now.Status != session.Running || now.LastError != "" {
		t.Errorf("got %+v, %v; want it running", now, err)
	}
}

// blockingStore is a store of which the next update blocks until it is released.
type blockingStore struct {
	session.Store
	once             sync.Once
	reached, release chan struct{}
}

func (s *blockingStore) Update(ctx context.Context, v session.Session, max int) (session.Session, error) {
	s.once.Do(func() { close(s.reached); <-s.release })
	return s.Store.Update(ctx, v, max)
}

// A request that would wake a session arrives while a requested stop is being recorded. The stop takes precedence.
func TestWakeDoesNotPreemptStopBeingRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		peers := &peers{living: map[string]bool{"first": true, "second": true}}
		h := idleFixture(t, func(o *lifecycle.Options) { o.Process, o.Peers = "first", peers })
		s, _ := h.Make(lifecycle.Request{})
		h.Clock.Advance(11 * time.Minute)
		h.waitFor(t, s.ID, "stopped", isStopped)

		h.Options.Process = "second"
		store := &blockingStore{Store: h.Store, reached: make(chan struct{}), release: make(chan struct{})}
		m := h.ProcessWith(store, h.Engine)
		t.Cleanup(func() { h.abandon(m) })
		stopped := make(chan error, 1)
		go func() { _, err := h.do(m.Stop, s.ID); stopped <- err }()
		<-store.reached
		woken := make(chan error, 1)
		go func() { woken <- m.Wake(t.Context(), s.ID) }()
		<-time.After(50 * time.Millisecond) // the wake has read the session, and waits for the lock
		close(store.release)
		if err := <-stopped; err != nil {
			t.Fatalf("stop: %v", err)
		}
		wantCode(t, <-woken, session.CodeNotRunning, "wake")
		if now := h.stored(s.ID); now.Status != session.Stopped || now.StopReason != "" || now.Operation != nil {
			t.Errorf("got %+v, want it stopped by its user", now)
		}
	})
}

// An idle stop that has failed does not keep requests from waking the session.
func TestRequestWakesSessionAfterFailedIdleStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Times: -1, Err: errUnavailable})
		h.Clock.Advance(11 * time.Minute)
		h.waitFor(t, s.ID, "the stop has failed", func(now session.Session, _ lifecycle.Health) bool {
			route, _ := h.Routes.Get(s.ID)
			return now.Status == session.Error && route.Wakes
		})
		if err := h.Wake(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		if now := h.stored(s.ID); now.Status != session.Running || now.Operation != nil {
			t.Errorf("got %+v, want it running", now)
		}
	})
}

// A delete cannot be undone. A stop or restart during a delete is refused, also with force.
func TestForceDoesNotPreemptDelete(t *testing.T) {
	t.Parallel()
	for _, kind := range []session.Kind{session.OpStop, session.OpRestart} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t)
				s, _ := h.Make(lifecycle.Request{})
				release := make(chan struct{})
				h.Engine.Script(runtimetest.OpRemove, runtimetest.Step{Until: release})
				deletion, err := h.Delete(t.Context(), s.ID)
				if err != nil {
					t.Fatal(err)
				}
				h.reached(runtimetest.OpRemove)
				_, err = h.Force(t.Context(), s.ID, kind)
				if code := session.CodeOf(err); code != session.CodeConflict && code != session.CodeInProgress {
					t.Errorf("forced %s: got %v, want it refused", kind, err)
				}
				close(release)
				if _, err := deletion.Wait(t.Context()); err != nil {
					t.Errorf("delete: %v", err)
				}
				_, err = h.Get(t.Context(), s.ID)
				wantCode(t, err, session.CodeNotFound, "the session")
				if left := h.Engine.Volumes(); len(left) != 0 {
					t.Errorf("got volumes %v, want none", left)
				}
			})
		})
	}
}

// The retries of a failing operation back off. Operators are notified of the first failure and of the success.
func TestFailingOperationBacksOffAndLogsOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind  session.Kind
		op    runtimetest.Op
		begin func(*fixture, session.ID) (*lifecycle.Work, error)
		last  session.EventType
	}{
		{session.OpDelete, runtimetest.OpRemoveVolumes, func(h *fixture, id session.ID) (*lifecycle.Work, error) { return h.Delete(h.t.Context(), id) }, session.EventDeleted},
		{session.OpStop, runtimetest.OpStop, func(h *fixture, id session.ID) (*lifecycle.Work, error) { return h.Stop(h.t.Context(), id) }, session.EventStopped},
	} {
		t.Run(string(test.kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var sent []session.EventType
				h := newFixture(t, func(o *lifecycle.Options) {
					o.Sink = notices(func(n lifecycle.Notice) { mu.Lock(); sent = append(sent, n.Type); mu.Unlock() })
				})
				s, _ := h.Make(lifecycle.Request{})
				h.Engine.Script(test.op, runtimetest.Step{Times: -1, Err: session.Errorf(session.CodeConflict, "the volume is in use")})
				w, err := test.begin(h, s.ID)
				if err == nil {
					_, err = w.Wait(t.Context())
				}
				wantCode(t, err, session.CodeConflict, string(test.kind))
				idle := func() {
					t.Helper()
					h.waitFor(t, s.ID, "waiting for its retry", func(now session.Session, _ lifecycle.Health) bool {
						return now.Operation != nil && now.Operation.Kind == test.kind && now.Operation.Deadline.After(time.Now())
					})
				}
				for range 120 { // an hour of passes
					h.Clock.Advance(30 * time.Second)
					h.reconcile()
					waittest.True(t, "the failed operation waits for its retry", func() bool {
						now := h.stored(s.ID)
						return now.Operation != nil && now.Operation.Owner == ""
					})
					<-time.After(5 * time.Millisecond) // long enough for the pass's work to release the session
				}
				idle()
				if tries := len(h.Engine.Calls(test.op)); tries < 5 || tries > 16 {
					t.Errorf("%d attempts in an hour of passes, want 5 to 16", tries)
				}
				failed := slices.Collect(func(yield func(string) bool) {
					for _, m := range h.stored(s.ID).Timeline {
						if m.Type == session.EventFailed && !yield(m.Reason) {
							return
						}
					}
				})
				if len(failed) != 1 || !strings.Contains(failed[0], "the volume is in use") || !strings.Contains(failed[0], "tried again") {
					t.Errorf("the timeline says %q, want the failure once", failed)
				}
				h.Engine.ClearScript()
				h.Clock.Advance(time.Hour)
				waittest.True(t, "both notices arrive", func() bool {
					h.reconcile()
					mu.Lock()
					defer mu.Unlock()
					return len(sent) >= 2
				})
				h.settled(s.ID)
				mu.Lock()
				defer mu.Unlock()
				if want := []session.EventType{session.EventFailed, test.last}; !slices.Equal(sent, want) {
					t.Errorf("got the notices %v, want %v", sent, want)
				}
			})
		})
	}
}

// A stop that failed because the engine was unavailable is retried as soon as the engine has recovered.
func TestFailedStopIsRetriedWhenEngineRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t, func(o *lifecycle.Options) { o.ReconcileEvery = time.Hour })
		s, _ := h.Make(lifecycle.Request{})
		h.waitFor(t, s.ID, "checked", isUp)
		h.Engine.SetDown(true)
		_, err := h.do(h.Stop, s.ID)
		wantCode(t, err, session.CodeEngineUnavailable, "stop")
		if v, _ := h.Health(s.ID); v.State != lifecycle.Failed || v.Reason == "" {
			t.Errorf("while the retry waits: got the health %+v, want it failed", v)
		}
		h.Engine.SetDown(false)
		h.waitFor(t, s.ID, "stopped", isStopped)
	})
}

// The container of an idle session that was started through the engine's API is stopped again, and the session keeps its stop
// reason.
func TestStrayContainerOfIdleSessionIsStoppedAndSessionWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Clock.Advance(11 * time.Minute)
		h.waitFor(t, s.ID, "stopped", isStopped)
		if err := h.Engine.Start(t.Context(), s.ContainerName); err != nil {
			t.Fatal(err)
		}
		h.waitFor(t, s.ID, "its container is stopped", func(now session.Session, v lifecycle.Health) bool {
			c, err := h.Engine.Inspect(t.Context(), s.ContainerName)
			return isStopped(now, v) && err == nil && c.State == session.StateStopped
		})
		if now := h.stored(s.ID); now.StopReason != session.StopIdle {
			t.Errorf("got the reason %q, want %q: the next request wakes it", now.StopReason, session.StopIdle)
		}
	})
}

// A create on an engine that hangs ends after one time-out, with a short extra time for the undo.
func TestCreateOnHungEngineEndsAfterOneTimeout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		operation, start time.Duration // time-outs
		want             session.Code
	}{
		{time.Minute, 2 * time.Minute, session.CodeEngineUnavailable},
		{time.Minute, 30 * time.Second, session.CodeStartTimeout},
	} {
		createHangs(t, test.operation, test.start, test.want)
	}
}

func createHangs(t *testing.T, operation, start time.Duration, want session.Code) {
	t.Helper()
	hangs := runtimetest.Step{Times: -1, Delay: operation, Err: errUnavailable}
	inBubble(t, &scriptedProber{}, func(o *lifecycle.Options) { o.StartTimeout = start }, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		for _, op := range []runtimetest.Op{runtimetest.OpCreate, runtimetest.OpRemove, runtimetest.OpStop, runtimetest.OpPing} {
			h.Engine.Script(op, hangs)
		}
		begun := time.Now()
		issued, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = issued.Wait(t.Context())
		wantCode(t, err, want, "create")
		if took := time.Since(begun); took > min(operation, start)+15*time.Second {
			t.Errorf("the create took %s, want little more than %s", took, min(operation, start))
		}
		h.Engine.ClearScript()
	})
}
