package lifecycle_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/waittest"
)

// An engine that answers but sends no events does not count as stopped: failures of servers count, and restarts end.
func TestServerFailureCountsWhenEngineSendsNoEvents(t *testing.T) {
	t.Parallel()
	refused := runtimetest.Step{Times: -1, Err: session.Errorf(session.CodeInternal, "events are not allowed")}
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newFixture(t, withFastHealing)
			h.Engine.Script(runtimetest.OpWatch, refused)
			h.Engine.Behave("", runtimetest.Behaviour{Exits: true, ExitCode: 1})
			h.runManager(t)
			waittest.True(t, "the engine is asked for events several times", func() bool { return len(h.Engine.Calls(runtimetest.OpWatch)) > 3 })
			issued, err := h.Create(t.Context(), lifecycle.Request{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = issued.Wait(t.Context())
			wantCode(t, err, session.CodeStartFailed, "create")
			if now := h.stored(issued.Session().ID); now.Status != session.Error || now.Operation != nil {
				t.Errorf("got %s with %+v, want it in error without an operation", now.Status, now.Operation)
			}
		})
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newFixture(t, withFastHealing)
			h.runManager(t)
			s, _ := h.Make(lifecycle.Request{})
			h.waitFor(t, s.ID, "checked", func(_ session.Session, v lifecycle.Health) bool { return v.HealthyChecks > 0 })
			h.Engine.Script(runtimetest.OpWatch, refused)
			h.Engine.BreakStreams()
			before := len(h.Engine.Calls(runtimetest.OpPing))
			waittest.True(t, "the engine is pinged several times", func() bool { return len(h.Engine.Calls(runtimetest.OpPing)) > before+3 })
			h.waitFor(t, s.ID, "failed after its restarts", func(now session.Session, _ lifecycle.Health) bool {
				if now.Status == session.Running && now.Operation == nil {
					h.Engine.Crash(s.ContainerName, 3, false)
				}
				return now.Status == session.Error && now.Operation == nil && strings.Contains(now.LastError, "given up")
			})
		})
	})
}
