package lifecycle_test

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/waittest"
)

// A container that was stopped through the engine's API may have been stopped by a process that is disconnected from the store.
func TestExternalStopIsDeferredUntilPeersAnswer(t *testing.T) {
	t.Parallel()
	for name, removed := range map[string]bool{"stopped": false, "removed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &peers{living: map[string]bool{}, foreign: map[session.ID]bool{}, unreachable: true}
				h := monitored(t, func(o *lifecycle.Options) { o.Peers = p })
				s, _ := h.Make(lifecycle.Request{})
				h.waitFor(t, s.ID, "checked", isUp)
				h.Engine.StopExternally(s.ContainerName, syscall.SIGTERM, 143, removed)
				h.settledRoute(t, s.ID)
				h.reconcile()
				c, err := h.Engine.Inspect(t.Context(), s.ContainerName)
				if now := h.stored(s.ID); now.Revision != s.Revision || now.Operation != nil || err == nil && c.State == session.StateRunning {
					t.Errorf("got %+v and the container %+v, want both unchanged", now, c)
				}
				p.change(func() { p.unreachable = false })
				h.waitFor(t, s.ID, "restarted", func(s session.Session, v lifecycle.Health) bool { return s.RestartCount == 1 && isUp(s, v) })
			})
		})
	}
	t.Run("crashed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := monitored(t, func(o *lifecycle.Options) {
				o.Peers = &peers{living: map[string]bool{}, foreign: map[session.ID]bool{}, unreachable: true, missing: time.Now()}
			})
			s, _ := h.Make(lifecycle.Request{})
			h.waitFor(t, s.ID, "checked", isUp)
			h.Engine.Crash(s.ContainerName, 1, false)
			h.waitFor(t, s.ID, "restarted", func(s session.Session, v lifecycle.Health) bool { return s.RestartCount == 1 && isUp(s, v) })
		})
	})
	t.Run("started by the user nevertheless", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := monitored(t, func(o *lifecycle.Options) {
				o.Peers = &peers{living: map[string]bool{}, foreign: map[session.ID]bool{}, unreachable: true, missing: time.Now()}
			})
			s, _ := h.Make(lifecycle.Request{})
			h.waitFor(t, s.ID, "checked", isUp)
			if err := h.Engine.Remove(t.Context(), s.ContainerName, true); err != nil {
				t.Fatal(err)
			}
			h.settledRoute(t, s.ID)
			w, err := h.Start(t.Context(), s.ID)
			if err == nil {
				_, err = w.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			h.waitFor(t, s.ID, "up", isUp)
		})
	})
}

// A running container of a stopped session may have been started by an unreachable process.
func TestContainerOfUnreachablePeerIsNotStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peers{living: map[string]bool{}, foreign: map[session.ID]bool{}, unreachable: true}
		h := newFixture(t, func(o *lifecycle.Options) { o.Peers = p })
		s, _ := h.Make(lifecycle.Request{})
		w, err := h.Stop(t.Context(), s.ID)
		if err == nil {
			_, err = w.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Engine.Start(t.Context(), s.ContainerName); err != nil {
			t.Fatal(err)
		}
		state := func() session.State {
			c, err := h.Engine.Inspect(t.Context(), s.ContainerName)
			if err != nil {
				t.Fatal(err)
			}
			return c.State
		}
		h.reconcile()
		h.settled(s.ID)
		if state() != session.StateRunning {
			t.Error("the container was stopped")
		}
		p.change(func() { p.unreachable = false })
		h.reconcile()
		h.settled(s.ID)
		if state() == session.StateRunning {
			t.Error("the container runs although all peers are reachable again")
		}
	})
}

// settledRoute waits until a session's route has no server.
func (h *fixture) settledRoute(t *testing.T, id session.ID) {
	t.Helper()
	waittest.True(t, "its route has no server", func() bool {
		route, ok := h.Routes.Get(id)
		return ok && !route.Running
	})
}
