package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"berth/internal/session"
)

// diagnoser finds the cause of a container's exit, and records the consequences.
type diagnoser struct {
	runtime  session.Runtime
	opts     Options
	reports  *reporter
	health   *healthRecords
	routes   *publisher
	deferred *deferredSessions
}

// exitKilled is the exit code of a server that was killed with SIGKILL.
const exitKilled = 128 + 9

// Advice for sessions that Berth does not restart.
const (
	adviseStart     = "start the session again"
	adviseRestart   = "restart the session"
	adviseLogs      = "start the session again, or see its logs"
	adviseWorkspace = "start the session to get a new one on the same workspace"
)

// unobservedStop is the stop reason of a container that exited with the code of a signal while Berth did not observe it.
func unobservedStop(code int) string {
	return fmt.Sprintf("stopped while Berth was not running or had no connection to the engine: by the engine, or by hand (exit code %d)", code)
}

// diagnose finds the cause if the container of a running session exited or disappeared without an operation.
func (e *diagnoser) diagnose(ctx context.Context, s session.Session, c session.Container, absent bool) *Diagnosis {
	end := e.health.awaitExitEvidence(ctx, s.ID)
	ended := func(cause Cause, advice, format string, args ...any) *Diagnosis {
		return &Diagnosis{Cause: cause, Failure: session.Errorf(session.CodeNotRunning, format, args...), Advice: advice}
	}
	outOfMemory := c.OOMKilled || e.health.ranOutOfMemory(s.ID)
	byHand := end.signalled && !outOfMemory
	var why *Diagnosis
	switch {
	case !absent && e.isStoppedByEngine(ctx, c, end):
		if end.known {
			return ended(CauseEngine, "", "%s", engineStoppedReason)
		}
		return ended(CauseEngine, "", "%s", unobservedStop(c.ExitCode))
	case end.signalled && (absent || e.isBeingRemoved(ctx, c)):
		why = ended(CauseGone, adviseWorkspace, "the container was removed through the engine's API")
	case absent:
		why = ended(CauseGone, adviseWorkspace, "the container does not exist any more")
	case byHand:
		why = ended(CauseByHand, adviseStart, "the container was stopped through the engine's API (exit code %d)", c.ExitCode)
	case c.OOMKilled, c.ExitCode == exitKilled && outOfMemory:
		why = ended(CauseMemory, adviseStart, "the server was killed because it ran out of memory; raise CONTAINER_MEMORY_LIMIT if that happens again")
	case c.ExitCode == exitKilled: // the engine does not always report that memory ran out
		why = ended(CauseKilled, adviseLogs, "the server was killed, perhaps because it ran out of memory")
	default:
		why = ended(CauseExited, adviseLogs, "the server ended by itself with code %d", c.ExitCode)
	}
	why.ByHand = byHand
	return why
}

// unreachable is the diagnosis of a container that runs without an address, for example because it was disconnected from its network.
func unreachableDiagnosis() *Diagnosis {
	failure := session.Errorf(session.CodeNotRunning, "the container runs without an address at which it could be reached")
	return &Diagnosis{Cause: CauseSilent, Failure: failure, Advice: adviseRestart}
}

// handleContainerExit logs, reports and unpublishes a container that has exited, before its session is restarted or set to error.
func (e *diagnoser) handleContainerExit(ctx context.Context, s session.Session, seen Observation) error {
	why := seen.Diagnosis
	e.opts.Logger.WarnContext(ctx, "session's container has ended", "session_id", s.ID, "reason", why.Failure.Message)
	if why.Cause == CauseMemory {
		e.reports.notify(ctx, s, session.EventOutOfMemory, why.Cause, why.Failure.Message)
	}
	e.routes.setPlace(s.ID, place{})
	if seen.Container == Absent && s.ContainerID != "" {
		// A container that was renamed still has the volumes, and would run beside its replacement.
		return e.runtime.Remove(ctx, s.ContainerID, true)
	}
	return nil
}

// signalCodes are the exit codes of a server that received SIGTERM or SIGKILL, or whose exit the engine has missed.
var signalCodes = []int{0, exitKilled, 128 + 15, 255}

// isStoppedByEngine reports whether a container was stopped because the engine stopped or restarted. If this process did not
// observe the exit, the exit code decides.
func (e *diagnoser) isStoppedByEngine(ctx context.Context, c session.Container, end exitEvidence) bool {
	switch {
	case c.OOMKilled:
		return false
	case !end.known || e.health.lacksEvents():
		return slices.Contains(signalCodes, c.ExitCode)
	case !end.watched:
		return true
	}
	// An engine that is stopping accepts no connections, and sends the exit events of its containers until all have exited.
	ping, cancel := context.WithTimeout(ctx, e.opts.Health.Timeout)
	defer cancel()
	return e.runtime.Ping(ping) != nil
}

// isBeingRemoved reports whether a container that was observed as stopped is being removed or has been: the engine kills a
// running container before it removes it.
func (e *diagnoser) isBeingRemoved(ctx context.Context, c session.Container) bool {
	now, err := e.runtime.Inspect(ctx, c.ID)
	if err != nil {
		return session.CodeOf(err) == session.CodeNotFound
	}
	return now.State == session.StateDead
}

// deferToPeers defers a session if its container was stopped or removed through the engine's API.
func (e *diagnoser) deferToPeers(ctx context.Context, s session.Session, noticed time.Time, waiting bool) {
	e.deferred.add(s.ID, noticed)
	e.routes.setPlace(s.ID, place{})
	e.routes.publish(s)
	if !waiting {
		e.opts.Logger.WarnContext(ctx, "session's container has ended, nothing is done yet: an unreachable instance may have stopped it",
			"session_id", s.ID)
	}
}
