package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

// fixture is the fixture of most of these tests.
type fixture struct {
	*sessiontest.Fixture
	t      *testing.T
	target func() session.ID // the session of must
}

func newFixture(t *testing.T, change ...func(*lifecycle.Options)) *fixture {
	t.Helper()
	return &fixture{Fixture: sessiontest.NewInMemory(t, change...), t: t}
}

// do runs an operation of the Manager and waits for its end.
func (h *fixture) do(op func(context.Context, session.ID) (*lifecycle.Work, error), id session.ID) (session.Session, error) {
	h.t.Helper()
	w, err := op(h.t.Context(), id)
	if err != nil {
		return session.Session{}, err
	}
	return w.Wait(h.t.Context())
}

// must runs an operation on the target and fails the test if it fails.
func (h *fixture) must(op func(context.Context, session.ID) (*lifecycle.Work, error)) {
	h.t.Helper()
	if _, err := h.do(op, h.target()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fixture) stored(id session.ID) session.Session {
	h.t.Helper()
	s, err := h.Store.Get(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func wantCode(t *testing.T, err error, want session.Code, why string) {
	t.Helper()
	if got := session.CodeOf(err); got != want {
		t.Errorf("%s: got %q (%v), want %q", why, got, err, want)
	}
}

func TestCreatedSessionRunsAndIsRouted(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, token := h.Make(lifecycle.Request{Owner: "alice", Metadata: map[string]any{"team": "x"}})
	if s.Status != session.Running || s.Operation != nil || s.Port == 0 || s.ContainerID == "" || s.LastError != "" {
		t.Errorf("got %+v, want a running session with a container, a port and no operation", s)
	}
	if diff := cmp.Diff(s, h.stored(s.ID)); diff != "" {
		t.Errorf("the returned session differs from the stored one (-returned +stored):\n%s", diff)
	}
	route, ok := h.Routes.Get(s.ID)
	if !ok || !route.Running || !h.Keys.Matches(token, route.Token.Digest) || h.Keys.Matches(route.Credential, route.Token.Digest) {
		t.Errorf("got route %+v, want a running one with the token's digest and a different credential", route)
	}
	if want := s.Token.RotatedAt.Add(24 * time.Hour); !s.Token.ExpiresAt.Equal(want) {
		t.Errorf("the token expires at %s, want %s", s.Token.ExpiresAt, want)
	}
}

func TestIntentIsRecordedBeforeEngineCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpCreate, runtimetest.Step{Until: release})
		issued, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		s := h.stored(issued.Session().ID)
		if s.Status != session.Creating || s.Operation == nil || s.Operation.Kind != session.OpCreate || s.Operation.Deadline.IsZero() {
			t.Errorf("got %+v while the engine creates the container, want the operation recorded", s)
		}
		if route, ok := h.Routes.Get(s.ID); !ok || route.Running {
			t.Errorf("got route %+v, %v; want one with the token and without a server", route, ok)
		}
		close(release)
		if _, err := issued.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestTwentyConcurrentCreatesAllRun(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			issued, err := h.Create(t.Context(), lifecycle.Request{Owner: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
				return
			}
			if s, err := issued.Wait(t.Context()); err != nil || s.Status != session.Running {
				t.Errorf("session %d: got %s, %v; want running", i, s.Status, err)
			}
		})
	}
	wg.Wait()
}

func TestFailedCreateLeavesErrorAndNoContainer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		behaviour runtimetest.Behaviour
		step      map[runtimetest.Op]runtimetest.Step
		want      session.Code
	}{
		"exits at start":    {behaviour: runtimetest.Behaviour{Exits: true, ExitCode: 3}, want: session.CodeStartFailed},
		"out of memory":     {behaviour: runtimetest.Behaviour{Exits: true, ExitCode: 137, OOM: true}, want: session.CodeStartFailed},
		"never answers":     {behaviour: runtimetest.Behaviour{Mute: true}, want: session.CodeStartTimeout},
		"never listens":     {behaviour: runtimetest.Behaviour{Closed: true}, want: session.CodeStartTimeout},
		"answers with HTML": {behaviour: runtimetest.Behaviour{Page: true}, want: session.CodeStartTimeout},
		"reports unhealthy": {behaviour: runtimetest.Behaviour{Unhealthy: true}, want: session.CodeStartTimeout},
		"disk full": {step: map[runtimetest.Op]runtimetest.Step{runtimetest.OpCreate: {
			Err: session.Errorf(session.CodeDiskFull, "no space left"),
		}}, want: session.CodeDiskFull},
		"port taken": {step: map[runtimetest.Op]runtimetest.Step{runtimetest.OpStart: {
			Err: session.Errorf(session.CodePortTaken, "port taken"),
		}}, want: session.CodePortTaken},
		"created, but the response was lost": {step: map[runtimetest.Op]runtimetest.Step{runtimetest.OpCreate: {
			ActFirst: true, Err: session.Errorf(session.CodeEngineUnavailable, "connection lost"),
		}}, want: session.CodeEngineUnavailable},
		"unexpected error": {step: map[runtimetest.Op]runtimetest.Step{runtimetest.OpStart: {
			Err: errors.New("secret detail"),
		}}, want: session.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t, func(o *lifecycle.Options) { o.StartTimeout = time.Second })
				h.Engine.Behave("", c.behaviour)
				for op, step := range c.step {
					h.Engine.Script(op, step)
				}
				issued, err := h.Create(t.Context(), lifecycle.Request{})
				if err != nil {
					t.Fatal(err)
				}
				s, err := issued.Wait(t.Context())
				wantCode(t, err, c.want, "create")
				if s.Status != session.Error || s.LastError == "" || s.LastError != session.MessageOf(err) || s.Operation != nil || s.Port != 0 {
					t.Errorf("got %+v, want it in error with the message %q", s, session.MessageOf(err))
				}
				if left, err := h.Engine.List(t.Context()); err != nil || len(left) != 0 {
					t.Errorf("got containers %+v, %v; want none", left, err)
				}
				if route, _ := h.Routes.Get(s.ID); route.Running {
					t.Error("the route of a session in error has a server")
				}
				for _, call := range h.Engine.Calls(runtimetest.OpRemoveVolumes) {
					t.Errorf("the volumes of %s were removed without a delete", call.Ref)
				}
				h.Engine.ClearScript()
				if _, err := h.do(h.Delete, s.ID); err != nil {
					t.Fatal(err)
				}
				if left := h.Engine.Volumes(); len(left) != 0 {
					t.Errorf("got volumes %v after the delete, want none", left)
				}
			})
		})
	}
}

func TestCreateWaitsForLateAttach(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.Engine.Behave("", runtimetest.Behaviour{LateAttach: 3}) // the first connections are never answered
	if s, _ := h.Make(lifecycle.Request{}); s.Status != session.Running {
		t.Errorf("got %s, want running", s.Status)
	}
}

func TestStopKeepsWorkspaceAndStartReusesIt(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, token := h.Make(lifecycle.Request{})
	volumes := h.Engine.Volumes()
	stopped, err := h.do(h.Stop, s.ID)
	if err != nil || stopped.Status != session.Stopped || stopped.Port != 0 {
		t.Fatalf("stop: got %+v, %v", stopped, err)
	}
	if route, ok := h.Routes.Get(s.ID); !ok || route.Running || !h.Keys.Matches(token, route.Token.Digest) {
		t.Errorf("got route %+v, %v; want one with the token and without a server", route, ok)
	}
	again, err := h.do(h.Start, s.ID)
	if err != nil || again.Status != session.Running || again.ContainerID != s.ContainerID {
		t.Errorf("start: got %+v, %v; want the same container to run", again, err)
	}
	if diff := cmp.Diff(volumes, h.Engine.Volumes()); diff != "" {
		t.Errorf("the volumes changed (-before +after):\n%s", diff)
	}
	for range 2 { // idempotent
		if _, err := h.do(h.Start, s.ID); err != nil {
			t.Errorf("start of a running session: %v", err)
		}
	}
}

func TestStartReplacesMissingContainerOnSameVolumes(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	volumes := h.Engine.Volumes()
	h.Engine.RemoveExternally(s.ContainerName)
	again, err := h.do(h.Start, s.ID)
	if err != nil || again.Status != session.Running || again.ContainerID == s.ContainerID {
		t.Errorf("got %+v, %v; want it to run in a new container", again, err)
	}
	if diff := cmp.Diff(volumes, h.Engine.Volumes()); diff != "" {
		t.Errorf("the volumes changed (-before +after):\n%s", diff)
	}
}

func TestFailedStartKeepsWorkspace(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	if _, err := h.do(h.Stop, s.ID); err != nil {
		t.Fatal(err)
	}
	h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{Exits: true, ExitCode: 1})
	failed, err := h.do(h.Start, s.ID)
	wantCode(t, err, session.CodeStartFailed, "start")
	if failed.Status != session.Error || len(h.Engine.Volumes()) == 0 {
		t.Errorf("got %s with volumes %v, want error with the volumes kept", failed.Status, h.Engine.Volumes())
	}
	h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{})
	if s, err := h.do(h.Start, s.ID); err != nil || s.Status != session.Running || s.LastError != "" {
		t.Errorf("second start: got %+v, %v; want it running without an error", s, err)
	}
}

func TestDeleteRemovesRecordContainerAndVolumes(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	if _, err := h.do(h.Delete, s.ID); err != nil {
		t.Fatal(err)
	}
	_, err := h.Get(t.Context(), s.ID)
	wantCode(t, err, session.CodeNotFound, "get after delete")
	_, err = h.Delete(t.Context(), s.ID)
	wantCode(t, err, session.CodeNotFound, "second delete")
	containers, _ := h.Engine.List(t.Context())
	if _, routed := h.Routes.Get(s.ID); routed || len(containers) > 0 || len(h.Engine.Volumes()) > 0 {
		t.Errorf("after the delete: route %v, containers %v, volumes %v", routed, containers, h.Engine.Volumes())
	}
}

func TestRotationInvalidatesOldTokenAndKeepsAddress(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, old := h.Make(lifecycle.Request{})
	before, _ := h.Routes.Get(s.ID)
	_, fresh, err := h.Rotate(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := h.Routes.Get(s.ID)
	if h.Keys.Matches(old, after.Token.Digest) || !h.Keys.Matches(fresh, after.Token.Digest) {
		t.Error("want the new token in the route and no other")
	}
	if after.Address != before.Address || after.Credential != before.Credential || !after.Running {
		t.Errorf("got %+v, want only the token changed in %+v", after, before)
	}
}

func TestLimitHoldsForCreateAndStart(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(o *lifecycle.Options) { o.MaxSessions = 2 })
	a, _ := h.Make(lifecycle.Request{})
	h.Make(lifecycle.Request{})
	_, err := h.Create(t.Context(), lifecycle.Request{})
	wantCode(t, err, session.CodeLimit, "third create")
	if _, err := h.do(h.Stop, a.ID); err != nil {
		t.Fatal(err)
	}
	h.Make(lifecycle.Request{}) // the free slot
	_, err = h.Start(t.Context(), a.ID)
	wantCode(t, err, session.CodeLimit, "start at the limit")
	if s := h.stored(a.ID); s.Status != session.Stopped || s.Operation != nil {
		t.Errorf("got %+v, want the refused start to change nothing", s)
	}
}
