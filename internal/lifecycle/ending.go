package lifecycle

import (
	"context"

	"berth/internal/session"
)

// exitKilled is the exit code of a server that SIGKILL ended.
const exitKilled = 128 + 9

// What to do about a session that Berth does not restart.
const (
	adviseStart     = "start the session again"
	adviseRestart   = "restart the session"
	adviseLogs      = "start the session again, or see its logs"
	adviseWorkspace = "start the session to get a new one on the same workspace"
)

// findCause finds out why the container of a running session has ended without Berth's doing, or is gone.
func (m *Manager) findCause(ctx context.Context, s session.Session, c session.Container, absent bool) *Ending {
	end := m.witness(ctx, s.ID)
	ended := func(cause Cause, advice, format string, args ...any) *Ending {
		return &Ending{Cause: cause, Failure: session.Errorf(session.CodeNotRunning, format, args...), Advice: advice}
	}
	starved := c.OOMKilled || m.hasStarved(s.ID)
	byHand := end.signalled && !starved
	var why *Ending
	switch {
	case !absent && m.endedByEngine(ctx, c, end):
		if end.known {
			return ended(CauseEngine, "", "%s", engineEnded)
		}
		return ended(CauseEngine, "", "%s", unseenEnd(c.ExitCode))
	case end.signalled && (absent || m.isBeingRemoved(ctx, c)):
		why = ended(CauseGone, adviseWorkspace, "the container was removed by somebody with access to the engine")
	case absent:
		why = ended(CauseGone, adviseWorkspace, "the container is gone")
	case byHand:
		why = ended(CauseByHand, adviseStart, "the container was stopped by somebody with access to the engine (exit code %d)", c.ExitCode)
	case c.OOMKilled, c.ExitCode == exitKilled && starved:
		why = ended(CauseMemory, adviseStart, "the server was killed because it ran out of memory; raise CONTAINER_MEMORY_LIMIT if that happens again")
	case c.ExitCode == exitKilled: // the engine does not always notice why
		why = ended(CauseKilled, adviseLogs, "the server was killed, perhaps because it ran out of memory")
	default:
		why = ended(CauseExited, adviseLogs, "the server ended by itself with code %d", c.ExitCode)
	}
	why.ByHand = byHand
	return why
}

// unreachable is why the server of a container is of no use that runs without an address, as after somebody has taken it off
// its network.
func unreachable() *Ending {
	failure := session.Errorf(session.CodeNotRunning, "the container runs without an address at which it could be reached")
	return &Ending{Cause: CauseSilent, Failure: failure, Advice: adviseRestart}
}

// loseContainer takes notice of a container that has ended, before its session is restarted or given up.
func (m *Manager) loseContainer(ctx context.Context, s session.Session, seen Situation) error {
	why := seen.Ended
	m.opts.Logger.WarnContext(ctx, "session lost its container", "session_id", s.ID, "reason", why.Failure.Message)
	if why.Cause == CauseMemory {
		m.notify(ctx, s, session.EventOutOfMemory, why.Cause, why.Failure.Message)
	}
	m.locate(s.ID, "")
	if seen.Container == Absent && s.ContainerID != "" {
		// One that was renamed still has the volumes, and would run beside the next one.
		return m.runtime.Remove(ctx, s.ContainerID, true)
	}
	return nil
}
