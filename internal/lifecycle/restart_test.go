package lifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

// An outage of the engine during a restart does not count against the session.
func TestRestartDuringEngineOutageWaitsAndUsesNoBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t, func(o *lifecycle.Options) {
			o.Health.MaxRestarts, o.Health.RestartDelay = 1, 200*time.Millisecond
		})
		s, _ := h.Make(lifecycle.Request{})
		h.waitFor(t, s.ID, "checked", isUp)
		h.Engine.Crash(s.ContainerName, 0, false)
		h.waitFor(t, s.ID, "being restarted", func(now session.Session, _ lifecycle.Health) bool { return now.Operation != nil })
		h.Engine.SetDown(true)
		h.waitFor(t, s.ID, "waiting for the engine", func(now session.Session, v lifecycle.Health) bool {
			return now.Operation != nil && now.Operation.Kind == session.OpStart && now.StopReason == session.StopEngine && v.State == lifecycle.Restarting
		})
		h.Engine.SetDown(false)
		if now := h.waitFor(t, s.ID, "healthy", isUp); now.RestartCount != 0 || now.StopReason != "" {
			t.Errorf("got %d restarts and the reason %q, want none", now.RestartCount, now.StopReason)
		}
	})
}

// A session that has restarts left has not failed.
func TestHealthIsRestartingUntilBudgetIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{Exits: true, ExitCode: 3})
		h.Engine.Crash(s.ContainerName, 3, false)
		for deadline := time.Now().Add(30 * time.Second); ; <-time.After(time.Millisecond) {
			v, _ := h.Health(s.ID)
			if v.State == lifecycle.Failed && v.Restarts == 3 {
				break
			}
			if v.State == lifecycle.Failed || time.Now().After(deadline) {
				t.Fatalf("got %s after %d of 3 restarts", v.State, v.Restarts)
			}
		}
	})
}
