package lifecycle

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"berth/internal/session"
)

// Rules are the settings that decisions depend on.
type Rules struct {
	Process      string        // owner of the operations that are begun here
	StartTimeout time.Duration // from the begin of a start until the server is ready
	CloneTimeout time.Duration // in addition while a repository is cloned
	StopTimeout  time.Duration // from SIGTERM to SIGKILL
	IdleTimeout  time.Duration // a session that was not used for so long is stopped; 0: never
	Restarts     bool          // whether a server that fails is restarted
	MaxRestarts  int           // restarts in a row without a healthy period

	// RestartDelay returns how long to wait before the n-th restart in a row.
	RestartDelay func(n int) time.Duration
}

// operation is a new operation of this process.
func (r Rules) operation(kind session.Kind, now time.Time) *session.Operation {
	return &session.Operation{Kind: kind, Owner: r.Process, Deadline: now.Add(r.allowance(kind))}
}

// allowance is the time allowed for an operation.
func (r Rules) allowance(kind session.Kind) time.Duration {
	d := r.StopTimeout + time.Minute // the engine's work, including its queue
	if kind.BringsUp() {
		d += r.StartTimeout
	}
	if kind == session.OpUpgrade { // including a revert
		d = 2 * (d + copyTime)
	}
	return d
}

// allowanceOf is the time allowed for the operation that is recorded with s.
func (r Rules) allowanceOf(s session.Session) time.Duration {
	d := r.allowance(s.Operation.Kind)
	if s.Operation.Kind.BringsUp() && isCloning(s) {
		d += r.CloneTimeout
	}
	return d
}

// isCloning reports whether the next start of a session may have to clone its repository: its server has not been ready yet.
func isCloning(s session.Session) bool {
	if s.Shape.Repository == "" || len(s.Timeline) == 0 || s.Timeline[0].Type != session.EventCreated {
		return false
	}
	return !slices.ContainsFunc(s.Timeline, func(e session.Event) bool {
		return e.Type == session.EventReady || e.Type == session.EventRestarted || e.Type == session.EventUpgraded
	})
}

// isAutomatic reports whether the operation that is recorded with s was begun by Berth itself.
func isAutomatic(s session.Session) bool {
	kind := s.Operation.Kind
	return kind == session.OpRestart && s.RestartCount > 0 || (kind == session.OpStart || kind == session.OpRestart) && s.StopReason == session.StopEngine
}

// takeoverAfter is after how long the operation recorded with s is taken over from another process that is still alive. That
// process may have taken it over itself, which includes a wait of handover.
func (r Rules) takeoverAfter(s session.Session, handover time.Duration) time.Duration {
	d := r.allowanceOf(s) + handover
	if isAutomatic(s) { // it is delayed first
		d += 2 * longestDelay
	}
	return d
}

// isExpired reports whether a session's lifetime has ended.
func isExpired(s session.Session, now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
}

// stopReasonDue returns why a running session is to be stopped now; empty: it is not.
func (r Rules) stopReasonDue(s session.Session, now time.Time) session.StopReason {
	switch {
	case s.Status != session.Running:
		return ""
	case isExpired(s, now):
		return session.StopLifetime
	case r.IdleTimeout > 0 && now.Sub(s.LastAccessed) >= r.IdleTimeout:
		return session.StopIdle
	}
	return ""
}

// wakesOnRequest reports whether the next request starts a session, or finds it starting.
func wakesOnRequest(s session.Session) bool {
	switch {
	case s.Operation == nil:
		return s.Status == session.Stopped && (s.StopReason == session.StopIdle || s.StopReason == session.StopEngine)
	case s.Operation.Kind == session.OpStart:
		return s.Status == session.Stopped
	}
	return s.Operation.Kind == session.OpStop && s.Operation.Pending() && s.StopReason == session.StopIdle // an idle stop that is being retried
}

// restartsAgain reports whether a session in error had a restart that failed or was interrupted, and has restarts left.
func (r Rules) restartsAgain(s session.Session) bool {
	return r.Restarts && s.Status == session.Error && s.Operation == nil && (s.RestartCount > 0 || s.StopReason == session.StopEngine) &&
		s.RestartCount < r.MaxRestarts
}

// restartOrFail decides about a session of which the server has exited or does not work: it is restarted if it has restarts left.
func (r Rules) restartOrFail(s session.Session, why *Diagnosis, now time.Time) Decision {
	ended := why.Failure.Code != session.CodeUpstream
	if !r.Restarts && !ended { // the server may still serve some requests
		return keep()
	}
	next := s.Clone()
	next.Status, next.Port = session.Error, 0
	switch {
	case !r.Restarts:
		next.LastError = why.message()
	case s.RestartCount < r.MaxRestarts:
		next.StopReason, next.LastError = "", why.Failure.Message
		next.RestartCount++
		addEvent(&next, now, session.EventUnhealthy, session.ActorBerth, why.Failure.Message)
		next.Operation = r.operation(session.OpRestart, now.Add(r.RestartDelay(next.RestartCount)))
		return Decision{Verdict: Restart, Next: next, Changed: true}
	default:
		next.StopReason = ""
		next.LastError = fmt.Sprintf("%s; it was restarted %d times and is given up: look at its logs, then restart it", why.Failure.Message, s.RestartCount)
	}
	addEvent(&next, now, session.EventFailed, session.ActorBerth, next.LastError)
	return Decision{Verdict: Fail, Next: next, Changed: true}
}

// recoverFromEngine decides about a session of which the engine has stopped the container, which is not a failure of its server. If
// restarts are enabled it is started again once the engine has recovered; otherwise the next request starts it.
func (r Rules) recoverFromEngine(s session.Session, why *Diagnosis, now time.Time) Decision {
	next := s.Clone()
	next.Status, next.LastError, next.Port = session.Stopped, "", 0
	if next.StopReason = r.stopReasonDue(s, now); next.StopReason == "" {
		next.StopReason = session.StopEngine
		if r.Restarts {
			next.Operation = r.operation(session.OpStart, now)
		}
	}
	addEvent(&next, now, session.EventStopped, session.ActorBerth, why.Failure.Message)
	return Decision{Verdict: Recover, Next: next, Changed: true}
}

// Result is the outcome of an operation.
type Result struct {
	Container session.Container // after a successful start; zero: none, or not inspected
	Failure   error             // nil: it succeeded
	Actor     string            // the actor that requested the operation
	RetryAt   time.Time         // when a failed stop or delete is retried
}

// statusAfter is the status after a successful operation. After an upgrade it depends on the status before; a delete leaves none.
var statusAfter = map[session.Kind]session.Status{
	session.OpCreate: session.Running, session.OpStart: session.Running, session.OpRestart: session.Running, session.OpStop: session.Stopped,
}

// eventAfter is the event of a successful operation.
var eventAfter = map[session.Kind]session.EventType{
	session.OpCreate: session.EventReady, session.OpStart: session.EventReady, session.OpRestart: session.EventRestarted, session.OpStop: session.EventStopped,
}

// Conclude returns the record at the end of its operation, and whether the same failure was recorded before. The end of an upgrade
// is recorded elsewhere, by concludeUpgrade.
func (r Rules) Conclude(s session.Session, end Result, now time.Time) (next session.Session, known bool) {
	kind := s.Operation.Kind
	next = s.Clone()
	next.Operation = nil
	next.Port = portOf(end.Container.Address)
	if c := end.Container; c.ID != "" {
		next.ContainerID, next.HostDir, next.Image = c.ID, c.HostDir, cmp.Or(c.Image, next.Image)
	}
	if kind.BringsUp() { // the idle time begins now
		next.LastAccessed = now
	}
	if end.Failure != nil {
		return r.concludeFailure(next, kind, end, now)
	}
	repeated := kind == session.OpStop && s.Status == session.Stopped && lastEventIs(s, session.EventStopped, string(s.StopReason))
	next.Status, next.LastError, next.Upgrade = statusAfter[kind], "", settled(next.Upgrade)
	if !repeated {
		addEvent(&next, now, eventAfter[kind], end.Actor, string(next.StopReason))
	}
	if kind.BringsUp() {
		next.StopReason = ""
	}
	return next, false
}

// concludeFailure completes the record of an operation that has failed. A failed stop or delete stays recorded as the operation, and
// is retried until it succeeds.
func (r Rules) concludeFailure(next session.Session, kind session.Kind, end Result, now time.Time) (_ session.Session, known bool) {
	next.Status, next.LastError = session.Error, session.MessageOf(end.Failure)
	if (kind == session.OpStart || kind == session.OpRestart) && session.CodeOf(end.Failure) == session.CodeEngineUnavailable {
		// Not a failure of the session: it is recorded as stopped by the engine, and the next request starts it.
		reason := next.LastError
		next.Status, next.StopReason, next.LastError = session.Stopped, session.StopEngine, ""
		addEvent(&next, now, session.EventStopped, end.Actor, reason)
		return next, false
	}
	if kind.BringsUp() {
		addEvent(&next, now, session.EventFailed, end.Actor, next.LastError)
		return next, false
	}
	next.LastError = fmt.Sprintf("the %s failed and is tried again until it succeeds: %s", kind, next.LastError)
	next.Operation = &session.Operation{Kind: kind, Deadline: end.RetryAt}
	if known = hasFailedFor(next, next.LastError); !known {
		addEvent(&next, now, session.EventFailed, end.Actor, next.LastError)
	}
	return next, known
}

// AwaitEngine returns the record of an operation that the outage of the engine has interrupted: it is resumed after the engine has
// recovered, and does not count as a restart. A create, and a start after an engine stop, are resumed without a change.
func (r Rules) AwaitEngine(s session.Session, actor string, now time.Time) session.Session {
	next := s.Clone()
	next.Status, next.StopReason, next.LastError = session.Stopped, session.StopEngine, ""
	next.RestartCount = max(0, next.RestartCount-1)
	next.Operation = r.operation(session.OpStart, now)
	addEvent(&next, now, session.EventStopped, actor, engineStoppedReason)
	return next
}

// engineStoppedReason is the reason of events and errors of a session that the engine has stopped.
const engineStoppedReason = "the engine was stopped or restarted"

// copyTime bounds a copy of a session's state.
const copyTime = 10 * time.Minute

// portOf returns the port of "ip:port", 0 when there is none.
func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}
