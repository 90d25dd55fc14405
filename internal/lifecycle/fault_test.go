package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/sessiontest"
	"berth/internal/waittest"
)

// crashPoint is a process that is killed at one of its calls of store and engine, before or after that call has its effect. Later
// calls have no effect.
type crashPoint struct {
	session.Store
	session.Runtime

	mu    sync.Mutex
	calls int
	point int  // the call at which it is killed, from 1; 0: never
	after bool // after the effect of the call
	dead  chan struct{}
}

// step counts a call that changes state, and carries it out unless the process was killed.
func (p *crashPoint) step(act func() error) error {
	p.mu.Lock()
	p.calls++
	killed := p.calls == p.point
	isDead := p.point > 0 && p.calls >= p.point
	p.mu.Unlock()
	if !isDead {
		return act()
	}
	if killed {
		if p.after {
			_ = act() // its result is lost
		}
		close(p.dead)
	}
	return errKilled
}

var errKilled = errors.New("the process was killed")

type crashingStore struct{ *crashPoint }

func (s crashingStore) Create(ctx context.Context, v session.Session, max session.Quota) (made session.Session, err error) {
	err = s.step(func() (err error) { made, err = s.Store.Create(ctx, v, max); return err })
	return made, err
}

func (s crashingStore) Get(ctx context.Context, id session.ID) (session.Session, error) {
	return s.Store.Get(ctx, id)
}

func (s crashingStore) List(ctx context.Context, q session.Query) (session.Page, error) {
	return s.Store.List(ctx, q)
}
func (s crashingStore) Ping(ctx context.Context) error { return s.Store.Ping(ctx) }

func (s crashingStore) Update(ctx context.Context, v session.Session, max int) (updated session.Session, err error) {
	err = s.step(func() (err error) { updated, err = s.Store.Update(ctx, v, max); return err })
	return updated, err
}

func (s crashingStore) Delete(ctx context.Context, id session.ID, revision int64) error {
	return s.step(func() error { return s.Store.Delete(ctx, id, revision) })
}

type crashingRuntime struct{ *crashPoint }

func (e crashingRuntime) Create(ctx context.Context, spec session.Spec) (made session.Container, err error) {
	err = e.step(func() (err error) { made, err = e.Runtime.Create(ctx, spec); return err })
	return made, err
}

func (e crashingRuntime) List(ctx context.Context) ([]session.Container, error) {
	return e.Runtime.List(ctx)
}
func (e crashingRuntime) Ping(ctx context.Context) error { return e.Runtime.Ping(ctx) }

func (e crashingRuntime) Start(ctx context.Context, ref string) error {
	return e.step(func() error { return e.Runtime.Start(ctx, ref) })
}

func (e crashingRuntime) Stop(ctx context.Context, ref string, timeout time.Duration) error {
	return e.step(func() error { return e.Runtime.Stop(ctx, ref, timeout) })
}

func (e crashingRuntime) Remove(ctx context.Context, ref string, force bool) error {
	return e.step(func() error { return e.Runtime.Remove(ctx, ref, force) })
}

func (e crashingRuntime) RemoveVolumes(ctx context.Context, name string) error {
	return e.step(func() error { return e.Runtime.RemoveVolumes(ctx, name) })
}

// The process is killed before and after each step of each operation. The next process recovers from whatever was recorded: no
// operation is stuck, no container is without a session, no session without its workspace.
func TestProcessKilledAtAnyStepLeavesRecoverableState(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		prepare func(h *fixture, id session.ID) // brings a running session into the initial state; nil: there is no session yet
		begin   func(m *lifecycle.Manager, ctx context.Context, id session.ID) (*lifecycle.Work, error)
		ends    []session.Status // allowed final statuses; empty: the session may be deleted
	}{
		{"create", nil, nil, []session.Status{session.Running, ""}},
		{"start", stopFirst, (*lifecycle.Manager).Start, []session.Status{session.Running, session.Stopped}},
		{"stop", runs, (*lifecycle.Manager).Stop, []session.Status{session.Stopped, session.Running}},
		{"restart", runs, (*lifecycle.Manager).Restart, []session.Status{session.Running}},
		{"delete", runs, (*lifecycle.Manager).Delete, []session.Status{"", session.Running}},
		{"cancel of nothing", runs, (*lifecycle.Manager).Cancel, []session.Status{session.Running}},
		{"forced delete", runs, func(m *lifecycle.Manager, ctx context.Context, id session.ID) (*lifecycle.Work, error) {
			return m.Force(ctx, id, session.OpDelete)
		}, []session.Status{"", session.Running}},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after the step %v", test.name, after), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					for point := 1; ; point++ {
						h := &fixture{t: t, Fixture: sessiontest.NewFast(t, func(o *lifecycle.Options) { o.StopTimeout = 50 * time.Millisecond })}
						id := session.ID("")
						if test.prepare != nil {
							s, _ := h.Make(lifecycle.Request{})
							id = s.ID
							test.prepare(h, id)
						}
						reached := h.killedAt(point, after, &id, test.begin)
						h.endsConsistent(id, test.ends, point)
						h.abandon(h.Manager)
						if !reached {
							t.Logf("%d steps", point-1)
							return
						}
					}
				})
			})
		}
	}
}

func runs(*fixture, session.ID) {}

func stopFirst(h *fixture, id session.ID) {
	w, err := h.Stop(h.t.Context(), id)
	if err == nil {
		_, err = w.Wait(h.t.Context())
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// killedAt runs the operation in a process of its own that is killed. It reports false if the operation has fewer steps.
func (h *fixture) killedAt(point int, after bool, id *session.ID, begin func(*lifecycle.Manager, context.Context, session.ID) (*lifecycle.Work, error)) bool {
	h.t.Helper()
	p := &crashPoint{Store: h.Store, Runtime: h.Engine, point: point, after: after, dead: make(chan struct{})}
	m := h.ProcessWith(crashingStore{p}, crashingRuntime{p})
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var w *lifecycle.Work
		if begin != nil {
			w, _ = begin(m, ctx, *id)
		} else if issued, err := h.CreateOn(ctx, m, lifecycle.Request{IdempotencyKey: "key"}); err == nil {
			w, *id = issued.Work, issued.Session().ID
		}
		if w != nil {
			_, _ = w.Wait(ctx)
		}
	}()
	reached := false
	select {
	case <-p.dead:
		reached = true
	case <-done:
	}
	cancel()
	h.abandon(m)
	<-done
	return reached
}

// endsConsistent starts the next process and waits until record, container and volumes are consistent.
func (h *fixture) endsConsistent(id session.ID, ends []session.Status, point int) {
	h.t.Helper()
	h.Routes.Clear()
	h.Manager = h.Process()
	h.Clock.Advance(24 * time.Hour) // after the grace period of orphans
	agreed := model{fixture: h}
	waittest.Until(h.t, fmt.Sprintf("consistent after a kill at step %d", point), func() error {
		h.reconcile()
		return agreed.disagreement()
	})
	if id == "" {
		return
	}
	status := session.Status("")
	if s, err := h.Get(h.t.Context(), id); err == nil {
		status = s.Status
	}
	if slices.Contains(ends, status) {
		return
	}
	h.t.Errorf("killed at step %d: the session is %q, want one of %q", point, status, ends)
}
