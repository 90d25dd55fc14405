package lifecycle_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

// watchedStart notes how far a start has come whenever the runtime or the prober is called.
type watchedStart struct {
	session.Runtime
	manager *lifecycle.Manager
	id      session.ID
	seen    []session.Stage
}

func (w *watchedStart) note() {
	if got := w.manager.Progress(w.id).Stage; len(w.seen) == 0 || w.seen[len(w.seen)-1] != got {
		w.seen = append(w.seen, got)
	}
}

func (w *watchedStart) Start(ctx context.Context, ref string) error {
	w.note()
	return w.Runtime.Start(ctx, ref)
}

func (w *watchedStart) Inspect(ctx context.Context, ref string) (session.Container, error) {
	w.note()
	return w.Runtime.Inspect(ctx, ref)
}

func TestProgressFollowsStart(t *testing.T) {
	t.Parallel()
	h := sessiontest.New(t)
	s, _ := h.Make(lifecycle.Request{})
	watched := &watchedStart{Runtime: h.Engine, id: s.ID}
	m := h.ProcessOn(watched)
	watched.manager = m
	t.Cleanup(func() { _ = m.Close(context.WithoutCancel(t.Context())) })
	do := func(what func(context.Context, session.ID) (*lifecycle.Work, error)) error {
		w, err := what(t.Context(), s.ID)
		if err == nil {
			_, err = w.Wait(t.Context())
		}
		return err
	}

	if got := m.Progress(s.ID); got.Stage != session.StageStopped {
		t.Errorf("a session that is not known yet: got %+v", got)
	}
	if err := do(m.Stop); err != nil {
		t.Fatal(err)
	}
	if got := m.Progress(s.ID); got.Stage != session.StageStopped {
		t.Errorf("stopped: got %+v", got)
	}
	watched.seen = nil
	if err := do(m.Start); err != nil {
		t.Fatal(err)
	}
	want := []session.Stage{session.StageContainer, session.StageServer}
	if diff := cmp.Diff(want, watched.seen); diff != "" {
		t.Errorf("stages of the start (-want +got):\n%s", diff)
	}
	if got := m.Progress(s.ID); got.Stage != session.StageReady {
		t.Errorf("afterwards: got %+v, want ready", got)
	}

	if err := do(m.Stop); err != nil {
		t.Fatal(err)
	}
	h.Engine.Script(runtimetest.OpStart, runtimetest.Step{Times: -1, Err: session.Errorf(session.CodeStartFailed, "no space left")})
	if err := do(m.Start); err == nil {
		t.Fatal("the start has succeeded")
	}
	if got := m.Progress(s.ID); got.Stage != session.StageFailed || got.Message == "" {
		t.Errorf("failed: got %+v, want the reason", got)
	}
}
