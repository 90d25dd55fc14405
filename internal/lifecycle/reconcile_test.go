package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

func (h *fixture) reconcile() {
	h.t.Helper()
	if err := h.Reconcile(h.t.Context()); err != nil {
		h.t.Fatalf("reconcile: %v", err)
	}
}

// orphan creates a container without a record.
func (h *fixture) orphan(name string) {
	h.t.Helper()
	_, err := h.Engine.Create(h.t.Context(), session.Spec{
		Session: "ses-unknown", Name: name, Profile: sessiontest.Profile(), Image: "stub:1", Credential: "x", CreatedAt: time.Now(),
		Limits: session.Limits{Memory: 1 << 30, CPUs: session.OneCPU, Processes: 512},
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestNewProcessRestoresRoutesOfRunningSessions(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, token := h.Make(lifecycle.Request{})
	stopped, _ := h.Make(lifecycle.Request{})
	if _, err := h.do(h.Stop, stopped.ID); err != nil {
		t.Fatal(err)
	}
	h.abandon(h.Manager)
	h.Routes.Clear()
	h.Manager = h.Process()
	h.reconcile()
	if route, _ := h.Routes.Get(s.ID); !route.Running || !h.Keys.Matches(token, route.Token.Digest) {
		t.Errorf("got route %+v, want the running session with its token", route)
	}
	if route, ok := h.Routes.Get(stopped.ID); !ok || route.Running {
		t.Errorf("got route %+v, %v; want the stopped session without a server", route, ok)
	}
}

func TestOrphansAreRemovedAfterGraceAndVolumesKept(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.orphan("berth-orphan") // never started
	volumes := len(h.Engine.Volumes())
	for _, c := range []struct {
		age  time.Duration
		want int
	}{{time.Minute, 2}, {time.Hour, 1}} {
		h.Clock.Advance(c.age)
		h.reconcile()
		all, err := h.Engine.List(t.Context())
		if err != nil || len(all) != c.want {
			t.Errorf("after %s: got %+v, %v; want %d containers", c.age, all, err, c.want)
		}
	}
	if _, err := h.Engine.Inspect(t.Context(), s.ContainerName); err != nil {
		t.Errorf("the session's own container: %v", err)
	}
	if got := len(h.Engine.Volumes()); got != volumes {
		t.Errorf("got %d volumes, want all %d kept", got, volumes)
	}
}

func TestOrphanGraceCountsFromFirstSight(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.Make(lifecycle.Request{})
	h.orphan("berth-orphan")
	h.Clock.Advance(24 * time.Hour) // the container is a day old, and its record was just lost
	wantContainers := func(why string, want int) {
		t.Helper()
		h.reconcile()
		if all, err := h.Engine.List(t.Context()); err != nil || len(all) != want {
			t.Errorf("%s: got %d containers, %v; want %d", why, len(all), err, want)
		}
	}
	wantContainers("at the first pass", 2)
	h.Clock.Advance(4 * time.Minute)
	wantContainers("within the grace period", 2)
	h.Manager = h.Process()
	h.Clock.Advance(4 * time.Minute)
	wantContainers("at the first pass of the next process", 2)
	h.Clock.Advance(6 * time.Minute)
	wantContainers("after the grace period", 1)
}

// An empty store beside containers has lost its sessions. The containers are kept, also when the store has sessions again and after
// a restart; containers that are created later are ordinary orphans.
func TestContainersAreKeptWhenStoreIsEmpty(t *testing.T) {
	t.Parallel()
	hold := &hold{}
	h := newFixture(t, func(o *lifecycle.Options) { o.Hold = hold })
	h.orphan("berth-orphan-1")
	h.orphan("berth-orphan-2")
	wantContainers := func(why string, want, unrecorded int) {
		t.Helper()
		h.reconcile()
		h.Clock.Advance(time.Hour)
		h.reconcile()
		all, err := h.Engine.List(t.Context())
		if err != nil || len(all) != want || h.Unrecorded() != unrecorded {
			t.Errorf("%s: got %d containers, %d of them unrecorded, %v; want %d and %d", why, len(all), h.Unrecorded(), err, want, unrecorded)
		}
	}
	wantContainers("while the store is empty", 2, 2)
	h.Make(lifecycle.Request{})
	wantContainers("when it has a session", 3, 2)
	h.Manager = h.Process()
	wantContainers("after a restart", 3, 2)
	hold.fail = errors.New("unavailable")
	wantContainers("while the hold cannot be read", 3, 2)
	hold.fail, hold.before = nil, time.Time{}
	wantContainers("after the hold was removed", 1, 0)
	if len(h.Engine.Volumes()) != 3 {
		t.Errorf("got the volumes %v, want those of all three kept", h.Engine.Volumes())
	}
}

// hold is a lifecycle.OrphanHold that survives restarts of the process.
type hold struct {
	before time.Time
	fail   error
}

func (h *hold) Set(_ context.Context, before time.Time) error {
	if before.After(h.before) {
		h.before = before
	}
	return h.fail
}

func (h *hold) Before(context.Context) (time.Time, error) { return h.before, h.fail }

func TestReconcileChangesNothingDuringOutage(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.orphan("berth-orphan")
	h.Clock.Advance(time.Hour)

	h.Store.Fail("List", session.Errorf(session.CodeStoreUnavailable, "unavailable"))
	if err := h.Reconcile(t.Context()); err == nil {
		t.Error("reconcile without the store: got no error")
	}
	h.Store.Fail("List", nil)
	h.Engine.Script(runtimetest.OpList, runtimetest.Step{Err: session.Errorf(session.CodeEngineUnavailable, "unavailable")})
	if err := h.Reconcile(t.Context()); err == nil {
		t.Error("reconcile without the engine: got no error")
	}
	if all, err := h.Engine.List(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("got %d containers, %v; want both kept", len(all), err)
	}
	if got := h.stored(s.ID); got.Status != session.Running {
		t.Errorf("got %s, want the session still running", got.Status)
	}
}

func TestMissingContainerPutsSessionInError(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*fixture, string){
		"gone":          func(h *fixture, name string) { h.Engine.RemoveExternally(name) },
		"exited":        func(h *fixture, name string) { h.Engine.Crash(name, 1, false) },
		"out of memory": func(h *fixture, name string) { h.Engine.Crash(name, 137, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFixture(t)
			s, _ := h.Make(lifecycle.Request{})
			lose(h, s.ContainerName)
			h.reconcile()
			got := h.stored(s.ID)
			if got.Status != session.Error || got.LastError == "" || got.Port != 0 {
				t.Errorf("got %+v, want it in error, with a reason", got)
			}
			if route, _ := h.Routes.Get(s.ID); route.Running {
				t.Error("the route still has a server")
			}
			if again, err := h.do(h.Start, s.ID); err != nil || again.Status != session.Running {
				t.Errorf("start afterwards: got %s, %v", again.Status, err)
			}
		})
	}
}

func TestSessionInErrorWithWorkingServerIsAdopted(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Err: session.Errorf(session.CodeInternal, "it fails")})
	if got, err := h.do(h.Restart, s.ID); err == nil || got.Status != session.Error {
		t.Fatalf("restart that fails: got %s, %v", got.Status, err)
	}
	h.Engine.ClearScript()
	if err := h.Engine.Start(t.Context(), s.ContainerName); err != nil {
		t.Fatal(err)
	}
	h.reconcile()
	route, _ := h.Routes.Get(s.ID)
	if got := h.stored(s.ID); got.Status != session.Running || !route.Running {
		t.Errorf("got %s and route %+v, want it running and routed", got.Status, route)
	}
}

// A start that fails because the engine is unavailable does not put the session in error: the next request, or a start, starts it.
func TestStartWithoutEngineLeavesSessionStoppedAndWakeable(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*fixture, session.ID) error{
		"start":   func(h *fixture, id session.ID) error { _, err := h.do(h.Start, id); return err },
		"restart": func(h *fixture, id session.ID) error { _, err := h.do(h.Restart, id); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFixture(t)
			s, _ := h.Make(lifecycle.Request{})
			if _, err := h.do(h.Stop, s.ID); err != nil {
				t.Fatal(err)
			}
			h.Engine.SetDown(true)
			for _, try := range []func(*fixture, session.ID) error{ask, func(h *fixture, id session.ID) error { return h.Wake(t.Context(), id) }} {
				if err := try(h, s.ID); session.CodeOf(err) != session.CodeEngineUnavailable {
					t.Fatalf("without an engine: got %v, want code %q", err, session.CodeEngineUnavailable)
				}
				got := h.stored(s.ID)
				last := got.Timeline[len(got.Timeline)-1]
				if got.Status != session.Stopped || got.LastError != "" || last.Type != session.EventStopped || last.Reason == "" {
					t.Errorf("got %s with error %q and at last %+v, want it stopped without an error, and an event with the reason", got.Status, got.LastError, last)
				}
			}
			h.Engine.SetDown(false)
			h.reconcile()
			err := h.Wake(t.Context(), s.ID)
			if got := h.stored(s.ID); err != nil || got.Status != session.Running {
				t.Errorf("the next request after the engine has recovered: got %s, %v", got.Status, err)
			}
		})
	}
}

func TestStoppedSessionStaysStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		if _, err := h.do(h.Stop, s.ID); err != nil {
			t.Fatal(err)
		}
		if err := h.Engine.Start(t.Context(), s.ContainerName); err != nil { // without Berth
			t.Fatal(err)
		}
		h.reconcile()
		h.settled(s.ID)
		if c, err := h.Engine.Inspect(t.Context(), s.ContainerName); err != nil || c.State == session.StateRunning {
			t.Errorf("got %s, %v; want the container stopped again", c.State, err)
		}
	})
}

func TestRunReconcilesAndWritesActivity(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- h.Run(ctx, func() { close(ready) }) }()
	<-ready
	h.Clock.Advance(time.Minute)
	h.Touch(s.ID)
	cancel() // Run writes the rest at its end
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := h.stored(s.ID)
	if moved := got.LastAccessed.Sub(s.LastAccessed); moved < time.Minute || got.Revision != s.Revision {
		t.Errorf("last access moved by %s with revision %d, want a minute or more and revision %d as before", moved, got.Revision, s.Revision)
	}
}

// The engine answers the reconciler slowly. A command for the session waits for that and is not refused.
func TestCommandWaitsForReconciliation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Crash(s.ContainerName, 1, false)
		answer, reconciled := make(chan struct{}), make(chan error, 1)
		h.Engine.Script(runtimetest.OpInspect, runtimetest.Step{Until: answer})
		before := len(h.Engine.Calls(runtimetest.OpInspect))
		go func() { reconciled <- h.Reconcile(t.Context()) }()
		for len(h.Engine.Calls(runtimetest.OpInspect)) == before {
			<-time.After(time.Millisecond)
		}
		time.AfterFunc(1500*time.Millisecond, func() { close(answer) })
		if now, err := h.do(h.Stop, s.ID); err != nil || now.Status != session.Stopped {
			t.Errorf("got %s, %v; want it stopped", now.Status, err)
		}
		if err := <-reconciled; err != nil {
			t.Error(err)
		}
	})
}
