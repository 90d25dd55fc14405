package runtimetest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/runtimetest"
	"berth/internal/session"
)

func newFake(t *testing.T) *runtimetest.Fake {
	t.Helper()
	fake := runtimetest.NewFake(runtimetest.Options{})
	t.Cleanup(fake.Close)
	return fake
}

// run creates and starts a container.
func run(t *testing.T, fake *runtimetest.Fake, name string) (session.Spec, session.Container) {
	t.Helper()
	s := spec(name)
	if _, err := fake.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := fake.Start(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return s, inspect(t, fake, name)
}

func inspect(t *testing.T, fake *runtimetest.Fake, name string) session.Container {
	t.Helper()
	c, err := fake.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestScriptFailsNextCallsOnly(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	full := session.Errorf(session.CodeDiskFull, "no space is left")
	fake.Script(runtimetest.OpCreate, runtimetest.Step{}, runtimetest.Step{Times: 2, Err: full})
	for i, want := range []session.Code{"", session.CodeDiskFull, session.CodeDiskFull, ""} {
		name := string(rune('a' + i))
		if _, err := fake.Create(t.Context(), spec(name)); session.CodeOf(err) != want {
			t.Errorf("create %d: got %v, want code %q", i+1, err, want)
		}
	}
	all, err := fake.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Name != "a" || all[1].Name != "d" {
		t.Errorf("got %v (%v), want a and d: a failed create makes nothing", all, err)
	}
}

func TestScriptLosesAnswerAfterCall(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	lost := errors.New("connection reset")
	fake.Script(runtimetest.OpCreate, runtimetest.Step{Err: lost, ActFirst: true})
	if _, err := fake.Create(t.Context(), spec("a")); !errors.Is(err, lost) {
		t.Errorf("got %v, want %v", err, lost)
	}
	if got := inspect(t, fake, "a"); got.State != session.StateStopped || !got.StartedAt.IsZero() {
		t.Errorf("got state %q, started %v, want %q and never: only the answer was lost", got.State, got.StartedAt, session.StateStopped)
	}
}

func TestScriptDelayEndsWithContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := runtimetest.NewFake(runtimetest.Options{NoServers: true})
		defer fake.Close()
		release := make(chan struct{})
		fake.Script(runtimetest.OpPing,
			runtimetest.Step{Delay: time.Minute},
			runtimetest.Step{Times: 2, Until: release},
			runtimetest.Step{Times: -1, Delay: time.Second})

		begun := time.Now()
		if err := fake.Ping(t.Context()); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("got %v after %s, want nil after a minute", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := fake.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline: the call was not released", err)
		}
		ended := make(chan error)
		go func() { ended <- fake.Ping(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("the call ended with %v before it was released", err)
		default:
		}
		close(release)
		if err := <-ended; err != nil {
			t.Errorf("got %v after the release, want nil", err)
		}
		for range 3 {
			begun := time.Now()
			if err := fake.Ping(t.Context()); err != nil || time.Since(begun) != time.Second {
				t.Errorf("got %v after %s, want nil after a second, for ever", err, time.Since(begun))
			}
		}
		fake.ClearScript()
		begun = time.Now()
		if err := fake.Ping(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("got %v after %s, want nil at once: the script was cleared", err, time.Since(begun))
		}
	})
}

func TestCallsAreRecordedInOrder(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	run(t, fake, "a")
	if err := fake.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []runtimetest.Call{
		{Op: runtimetest.OpCreate, Ref: "a"}, {Op: runtimetest.OpStart, Ref: "a"}, {Op: runtimetest.OpInspect, Ref: "a"}, {Op: runtimetest.OpPing},
	}
	if diff := cmp.Diff(want, fake.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:2], fake.Calls(runtimetest.OpStart)); diff != "" {
		t.Errorf("calls of Start (-want +got):\n%s", diff)
	}
}

func TestDownFakeFailsCallsAndKeepsServers(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	s, c := run(t, fake, "a")
	watched := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		watched <- fake.Watch(t.Context(), func() { close(ready) }, func(session.RuntimeEvent) {})
	}()
	<-ready
	fake.SetDown(true)
	if err := <-watched; session.CodeOf(err) != session.CodeEngineUnavailable {
		t.Errorf("watch: got %v, want code %q", err, session.CodeEngineUnavailable)
	}
	for name, err := range map[string]error{
		"ping": fake.Ping(t.Context()), "start": fake.Start(t.Context(), "a"), "stop": fake.Stop(t.Context(), "a", 0),
		"remove": fake.Remove(t.Context(), "a", true), "volumes": fake.RemoveVolumes(t.Context(), "a"),
	} {
		if session.CodeOf(err) != session.CodeEngineUnavailable {
			t.Errorf("%s: got %v, want code %q", name, err, session.CodeEngineUnavailable)
		}
	}
	if got := get(t, s, c, "/path"); got.status != 200 {
		t.Errorf("the server answers %d, want 200: it keeps running without the engine", got.status)
	}
	fake.SetDown(false)
	if got := inspect(t, fake, "a"); got.State != session.StateRunning {
		t.Errorf("got %q, want %q after the engine recovered", got.State, session.StateRunning)
	}
}

func TestExternalChangesAreVisible(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	events := make(chan session.RuntimeEvent, 16)
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- fake.Watch(ctx, func() { close(ready) }, func(e session.RuntimeEvent) { events <- e })
	}()
	<-ready
	run(t, fake, "a")
	fake.Crash("a", 137, true)
	if c := inspect(t, fake, "a"); c.State != session.StateStopped || c.ExitCode != 137 || !c.OOMKilled || c.Address != "" {
		t.Errorf("got %+v, want it out of memory", c)
	}
	fake.Crash("a", 1, false) // it has stopped: no effect
	fake.DropEvents(true)
	if err := fake.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	fake.DropEvents(false)
	fake.RemoveExternally("a")
	if _, err := fake.Inspect(t.Context(), "a"); session.CodeOf(err) != session.CodeNotFound {
		t.Errorf("got %v, want code %q: it was removed", err, session.CodeNotFound)
	}
	if want := []string{"a/state", "a/workspace"}; !slices.Equal(fake.Volumes(), want) {
		t.Errorf("got volumes %v, want %v: they are kept when a container is removed", fake.Volumes(), want)
	}
	if err := fake.RemoveVolumes(t.Context(), "a"); err != nil || len(fake.Volumes()) != 0 {
		t.Errorf("got volumes %v (%v), want none", fake.Volumes(), err)
	}
	want := []session.Action{
		session.ActionCreated, session.ActionStarted, session.ActionOutOfMemory, session.ActionEnded, session.ActionEnded, session.ActionRemoved,
	}
	var got []session.Action
	for range want {
		got = append(got, (<-events).Action)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events; one start failed on purpose (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Errorf("watch: got %v, want context.Canceled", err)
	}
}

func TestSetState(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	_, c := run(t, fake, "a")
	fake.SetState("a", session.StatePaused)
	if got := inspect(t, fake, "a"); got.State != session.StatePaused || got.Address != "" {
		t.Errorf("got %q at %q, want a paused container without an address", got.State, got.Address)
	}
	if err := fake.Start(t.Context(), "a"); session.CodeOf(err) != session.CodeStartFailed {
		t.Errorf("start: got %v, want code %q", err, session.CodeStartFailed)
	}
	fake.SetState("a", session.StateRunning)
	if got := inspect(t, fake, "a"); got.Address != c.Address {
		t.Errorf("got address %q, want %q as before", got.Address, c.Address)
	}
}

func TestClosedFakeStartsNothing(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	run(t, fake, "a")
	fake.Close()
	if err := fake.Start(t.Context(), "a"); session.CodeOf(err) != session.CodeEngineUnavailable {
		t.Errorf("got %v, want code %q", err, session.CodeEngineUnavailable)
	}
	fake.Close() // a second time
}
