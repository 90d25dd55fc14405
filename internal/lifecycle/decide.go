package lifecycle

import (
	"slices"
	"time"

	"berth/internal/session"
)

// Decide is the session state machine: it maps a record, an observation and a command to a decision. It is pure. Nothing else
// decides about a session without work in progress; [Rules.Conclude] returns the record at the end of an operation.
func (r Rules) Decide(s session.Session, seen Observation, c Command, now time.Time) Decision {
	if c.Kind != "" {
		return r.decideCommand(s, seen, c, now)
	}
	return r.decideObserved(s, seen, now)
}

// startable lists the statuses in which an operation may begin.
var startable = map[session.Kind][]session.Status{
	session.OpCreate:  {session.Creating},
	session.OpStart:   {session.Running, session.Stopped, session.Error},
	session.OpStop:    {session.Creating, session.Running, session.Stopped, session.Error},
	session.OpRestart: {session.Running, session.Stopped, session.Error},
	session.OpDelete:  {session.Creating, session.Running, session.Stopped, session.Error},
	session.OpUpgrade: {session.Running, session.Stopped, session.Error},
}

// decideCommand decides about a command.
func (r Rules) decideCommand(s session.Session, seen Observation, c Command, now time.Time) Decision {
	op, inProgress := s.Operation, seen.Holder == HeldByOther || seen.Holder == HeldHere
	switch {
	case c.Wake && s.Status == session.Running && op == nil:
		return keep()
	case op != nil && op.Kind == session.OpDelete && c.Kind != session.OpDelete:
		return refuse(beingDeletedError(s))
	case inProgress && !c.preempts(op.Kind):
		return refuse(inProgressError(s.ID, op.Kind))
	case c.Wake && !wakesOnRequest(s):
		return refuse(session.Errorf(session.CodeNotRunning, "session %s has been stopped", s.ID))
	case !slices.Contains(startable[c.Kind], s.Status):
		return refuse(session.Errorf(session.CodeConflict, "session %s is %s, so that %s is not possible", s.ID, s.Status, c.Kind))
	case c.Kind.BringsUp() && isExpired(s, now):
		return refuse(session.Errorf(session.CodeConflict, "the lifetime of session %s has ended; fetch the files of its workspace and delete it", s.ID))
	case c.Reason == session.StopSize && s.Status != session.Running:
		return refuse(session.Errorf(session.CodeConflict, "session %s does not run", s.ID))
	case c.Reason != "" && c.Reason != session.StopSize && r.stopReasonDue(s, now) != c.Reason:
		return refuse(session.Errorf(session.CodeConflict, "session %s is in use again", s.ID))
	case c.Kind.BringsUp() && !s.Occupies() && seen.Capacity != nil:
		return refuse(seen.Capacity)
	}
	next := s.Clone()
	repeated := op != nil && op.Kind == c.Kind
	if !c.Resume && !repeated {
		next.RestartCount, next.StopReason = 0, c.Reason
	}
	next.Operation = r.operation(c.Kind, now)
	if c.Kind == session.OpStart && !c.Resume && !repeated && s.Status != session.Running {
		addEvent(&next, now, session.EventStarting, c.Actor, "")
	}
	if c.prepare != nil {
		if err := c.prepare(s, &next); err != nil {
			return refuse(err)
		}
	}
	if inProgress {
		return Decision{Verdict: Preempt, Next: next, Changed: true}
	}
	return Decision{Verdict: Begin, Next: next, Changed: true}
}

// decideObserved decides about a session from what is observed, without a command.
func (r Rules) decideObserved(s session.Session, seen Observation, now time.Time) Decision {
	if s.Operation != nil {
		switch seen.Holder {
		case NoOperation, HeldHere, HeldByOther, RetryLater:
			return keep()
		case Abandoned, RetryNow:
		}
		if s.Operation.Kind.BringsUp() && isExpired(s, now) {
			return Decision{Verdict: Resume, Kind: session.OpStop}
		}
		return Decision{Verdict: Resume, Kind: s.Operation.Kind}
	}
	switch s.Status {
	case session.Creating: // never recorded without an operation
		return Decision{Verdict: Resume, Kind: session.OpCreate}
	case session.Running:
		return r.decideRunning(s, seen, now)
	case session.Stopped:
		switch {
		case seen.Container != Up:
			return keep()
		case s.StopReason == session.StopEngine:
			return Decision{Verdict: Resume, Kind: session.OpStart}
		case seen.OthersUnknown: // another process may have been requested to start it
			return Decision{Verdict: Wait}
		}
		return Decision{Verdict: Resume, Kind: session.OpStop}
	case session.Error:
		switch {
		case seen.Container == Up && seen.Server == NotProbed:
			return Decision{Verdict: ProbeServer}
		case seen.Container == Up && seen.Server == NotWorking:
			return Decision{Verdict: Stop}
		case seen.Container == Up:
			next := s.Clone()
			next.Status, next.LastError = session.Running, ""
			return Decision{Verdict: Adopt, Next: next, Changed: true}
		case seen.Diagnosis != nil && r.Restarts && (s.RestartCount > 0 || s.StopReason == session.StopEngine): // a restart has failed
			return r.restartOrFail(s, seen.Diagnosis, now)
		case r.restartsAgain(s) && seen.Container != NotObserved:
			return r.restartOrFail(s, &Diagnosis{Cause: CauseStart, Failure: session.Errorf(session.CodeNotRunning, "%s", s.LastError)}, now)
		}
	}
	return keep()
}

// decideRunning decides about a session that is recorded as running and has no operation.
func (r Rules) decideRunning(s session.Session, seen Observation, now time.Time) Decision {
	switch seen.Container {
	case NotObserved, Changing:
		return keep()
	case Up:
		if seen.Server == NotWorking {
			return r.restartOrFail(s, seen.Diagnosis, now)
		}
		return Decision{Verdict: Adopt, Next: s}
	case Absent, Down:
	}
	switch {
	case seen.Diagnosis == nil:
		return Decision{Verdict: FindCause}
	case seen.Diagnosis.Cause == CauseEngine:
		return r.recoverFromEngine(s, seen.Diagnosis, now)
	case seen.OthersUnknown && (seen.Container == Absent || seen.Diagnosis.ByHand):
		return Decision{Verdict: Wait}
	}
	return r.restartOrFail(s, seen.Diagnosis, now)
}
