package lifecycle_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

// A session of which the container runs without an address, because it was disconnected from its network, is not running.
func TestContainerWithoutAddressIsRestarted(t *testing.T) {
	t.Parallel()
	t.Run("with restarts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newFixture(t, withFastHealing)
			h.runManager(t)
			s, _ := h.Make(lifecycle.Request{})
			h.Engine.Disconnect(s.ContainerName)
			h.waitFor(t, s.ID, "restarted", func(now session.Session, _ lifecycle.Health) bool {
				route, _ := h.Routes.Get(s.ID)
				return now.Status == session.Running && now.RestartCount == 1 && now.Operation == nil && route.Address != ""
			})
		})
	})
	t.Run("without restarts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newFixture(t)
			s, _ := h.Make(lifecycle.Request{})
			h.Engine.Disconnect(s.ContainerName)
			h.reconcile()
			if now := h.stored(s.ID); now.Status != session.Error || !strings.Contains(now.LastError, "restart the session") {
				t.Errorf("got %s, %q; want an error with a remedy", now.Status, now.LastError)
			}
		})
	})
}

// An engine may report the address of a running container late: a start inspects it again before it fails.
func TestStartOfRunningSessionWaitsForAddress(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.Engine.Disconnect(s.ContainerName)
	inspections := len(h.Engine.Calls(runtimetest.OpInspect))
	work, err := h.Start(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	for len(h.Engine.Calls(runtimetest.OpInspect)) < inspections+3 { // one for the container, two for its address
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the container is not inspected again")
		}
	}
	h.Engine.Reconnect(s.ContainerName)
	if now, err := work.Wait(t.Context()); err != nil || now.Status != session.Running || now.RestartCount != 0 {
		t.Errorf("got %s after %d restarts, %v; want a running session", now.Status, now.RestartCount, err)
	}
}

// A server that exits or answers slowly does not delay the reconciliation of other sessions.
func TestSlowSessionDoesNotDelayReconcilingOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		slow, _ := h.Make(lifecycle.Request{})
		other, _ := h.Make(lifecycle.Request{})
		h.abandon(h.Manager)
		for _, s := range []session.Session{slow, other} { // recorded as stopped
			now := h.stored(s.ID)
			now.Status, now.Port = session.Error, 0
			now.LastError = "left by a failure"
			if _, err := h.Store.Update(t.Context(), now, session.Unlimited); err != nil {
				t.Fatal(err)
			}
		}
		release := make(chan struct{})
		h.Engine.Behave(slow.ContainerName, runtimetest.Behaviour{Mute: true})
		if err := h.Engine.Stop(t.Context(), slow.ContainerName, time.Second); err != nil {
			t.Fatal(err)
		}
		if err := h.Engine.Start(t.Context(), slow.ContainerName); err != nil {
			t.Fatal(err)
		}
		h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Until: release})
		h.Manager = h.Process()
		done := make(chan error, 1)
		go func() { done <- h.Reconcile(t.Context()) }()
		h.waitFor(t, other.ID, "running again", func(now session.Session, _ lifecycle.Health) bool { return now.Status == session.Running })
		select {
		case err := <-done:
			t.Errorf("the reconciliation has ended (%v) before the slow server did", err)
		default:
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
