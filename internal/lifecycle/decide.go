package lifecycle

import (
	"slices"
	"time"

	"berth/internal/session"
)

// Situation is what a decision depends on beside the record: what was seen, and how long things may take.
type Situation struct {
	Holder    Holder
	Container Seen
	Ended     *Ending // why a container that should run does not, or why its server is of no use; nil: it is not asked
	Server    Answer

	// OthersUnknown says that another process may have been asked for what is seen, and that this one cannot read it.
	OthersUnknown bool
	// Capacity is why no further session may begin to run, as a CodePressure error; nil: one may.
	Capacity error
}

// Holder says who does the operation that is recorded with a session.
type Holder uint8

// The holders.
const (
	HeldByNobody Holder = iota // no operation is recorded
	HeldHere                   // this process does it, or is about to
	HeldByOther                // another process does it, or may do it
	Abandoned                  // its process is gone, or has been seen at it for too long
	RetryLater                 // it failed, and waits to be tried again
	RetryNow                   // it failed, and is to be tried again
)

// Seen is what the runtime says about a session's container.
type Seen uint8

// What is seen of containers.
const (
	NotSeen  Seen = iota // nobody has looked, or the runtime does not answer
	Absent               // there is none
	Up                   // it runs
	Changing             // it is paused or being restarted
	Down                 // it does not run
)

// Answer is what a session's server says when it is asked whether it works.
type Answer uint8

// The answers.
const (
	NotAsked Answer = iota
	Works
	DoesNotWork
)

// Command is what is wanted of a session. The zero Command wants nothing: what is to be done depends on what is seen.
type Command struct {
	Kind   session.Kind
	Actor  string             // who wants it; see [session.ActorOf]
	Reason session.StopReason // why Berth itself stops the session
	Force  bool               // whatever is in progress is ended for it
	Wake   bool               // a start that is wanted only if the session was stopped as idle or by the engine
	Resume bool               // the operation was asked for before: what is recorded as wanted stays

	// prepare completes the record of an operation that is more than its kind, or says why it may not begin. Such an
	// operation joins no other. before is the session without the operation.
	prepare func(before session.Session, s *session.Session) error
}

// preempts reports whether an operation in progress is ended for the command. A delete never is: what it has removed
// cannot be brought back.
func (c Command) preempts(k session.Kind) bool {
	if k == session.OpDelete {
		return false
	}
	return c.Force && k != c.Kind || k.BringsUp() && !c.Kind.BringsUp()
}

// joins reports whether the command is content with an operation of its kind that is in progress.
func (c Command) joins() bool { return c.prepare == nil && c.Kind != session.OpCreate }

// Verdict is what is done about a session.
type Verdict string

// The verdicts.
const (
	Keep      Verdict = "keep"       // all is as recorded, or on its way
	Refuse    Verdict = "refuse"     // the command is refused
	Begin     Verdict = "begin"      // the operation of Next is recorded and done
	Preempt   Verdict = "preempt"    // as Begin, and the process that does the recorded operation gives it up
	Resume    Verdict = "resume"     // the operation that is recorded, or a stop, is begun as [Command.Resume]
	Adopt     Verdict = "adopt"      // the container is the session's and its server is where it was found
	AskServer Verdict = "ask server" // whether its server works decides
	FindCause Verdict = "find cause" // why its container does not run decides
	Stop      Verdict = "stop"       // the container is stopped, the record stays
	Restart   Verdict = "restart"    // Next, which has a restart, is recorded; it is done after a delay
	Fail      Verdict = "fail"       // Next, in error until somebody acts, is recorded
	BringBack Verdict = "bring back" // Next, stopped by the engine, is recorded, and started if it says so
	Wait      Verdict = "wait"       // nothing is done until the other processes are known again
)

// Decision is what becomes of a session.
type Decision struct {
	Verdict Verdict
	Refusal error           // with Refuse
	Next    session.Session // the record to write before anything is done; with Begin, Preempt, Adopt, Restart, Fail and BringBack
	Kind    session.Kind    // with Resume: the operation
	Changed bool            // Next differs from the record
}

func keep() Decision { return Decision{Verdict: Keep} }

func refuse(err error) Decision { return Decision{Verdict: Refuse, Refusal: err} }

// Decide is the life of a session: what becomes of it, for every record, everything that can be seen of its container and
// everything that can be wanted of it. It is pure. Nothing else decides about a session that nobody works on; what becomes
// of it when an operation has ended is told by [Rules.Conclude].
func (r Rules) Decide(s session.Session, seen Situation, c Command, now time.Time) Decision {
	if c.Kind != "" {
		return r.obey(s, seen, c, now)
	}
	return r.reconcile(s, seen, now)
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

// obey decides about a command.
func (r Rules) obey(s session.Session, seen Situation, c Command, now time.Time) Decision {
	op, inProgress := s.Operation, seen.Holder == HeldByOther || seen.Holder == HeldHere
	switch {
	case c.Wake && s.Status == session.Running && op == nil:
		return keep()
	case op != nil && op.Kind == session.OpDelete && c.Kind != session.OpDelete:
		return refuse(beingDeleted(s))
	case inProgress && !c.preempts(op.Kind):
		return refuse(busy(s.ID, op.Kind))
	case c.Wake && !wakes(s):
		return refuse(session.Errorf(session.CodeNotRunning, "session %s has been stopped", s.ID))
	case !slices.Contains(startable[c.Kind], s.Status):
		return refuse(session.Errorf(session.CodeConflict, "session %s is %s: it cannot be the object of %s", s.ID, s.Status, c.Kind))
	case c.Kind.BringsUp() && isOver(s, now):
		return refuse(session.Errorf(session.CodeConflict, "session %s has reached the end of its life; fetch what is in its workspace and delete it", s.ID))
	case c.Reason == session.StopSize && s.Status != session.Running:
		return refuse(session.Errorf(session.CodeConflict, "session %s does not run", s.ID))
	case c.Reason != "" && c.Reason != session.StopSize && r.overdue(s, now) != c.Reason:
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

// reconcile decides about a session of which nothing is wanted.
func (r Rules) reconcile(s session.Session, seen Situation, now time.Time) Decision {
	if s.Operation != nil {
		switch seen.Holder {
		case HeldByNobody, HeldHere, HeldByOther, RetryLater:
			return keep()
		case Abandoned, RetryNow:
		}
		if s.Operation.Kind.BringsUp() && isOver(s, now) {
			return Decision{Verdict: Resume, Kind: session.OpStop}
		}
		return Decision{Verdict: Resume, Kind: s.Operation.Kind}
	}
	switch s.Status {
	case session.Creating: // is never recorded without an operation
		return Decision{Verdict: Resume, Kind: session.OpCreate}
	case session.Running:
		return r.reconcileRunning(s, seen, now)
	case session.Stopped:
		switch {
		case seen.Container != Up:
			return keep()
		case s.StopReason == session.StopEngine:
			return Decision{Verdict: Resume, Kind: session.OpStart}
		case seen.OthersUnknown: // another process may have been asked to start it
			return Decision{Verdict: Wait}
		}
		return Decision{Verdict: Resume, Kind: session.OpStop}
	case session.Error:
		switch {
		case seen.Container == Up && seen.Server == NotAsked:
			return Decision{Verdict: AskServer}
		case seen.Container == Up && seen.Server == DoesNotWork:
			return Decision{Verdict: Stop}
		case seen.Container == Up:
			next := s.Clone()
			next.Status, next.LastError = session.Running, ""
			return Decision{Verdict: Adopt, Next: next, Changed: true}
		case seen.Ended != nil && r.Restarts && (s.RestartCount > 0 || s.StopReason == session.StopEngine): // a restart has failed
			return r.heal(s, seen.Ended, now)
		case r.heals(s) && seen.Container != NotSeen:
			return r.heal(s, &Ending{Cause: CauseStart, Failure: session.Errorf(session.CodeNotRunning, "%s", s.LastError)}, now)
		}
	}
	return keep()
}

// reconcileRunning decides about a session that is recorded as running and that nobody works on.
func (r Rules) reconcileRunning(s session.Session, seen Situation, now time.Time) Decision {
	switch seen.Container {
	case NotSeen, Changing:
		return keep()
	case Up:
		if seen.Server == DoesNotWork {
			return r.heal(s, seen.Ended, now)
		}
		return Decision{Verdict: Adopt, Next: s}
	case Absent, Down:
	}
	switch {
	case seen.Ended == nil:
		return Decision{Verdict: FindCause}
	case seen.Ended.Cause == CauseEngine:
		return r.bringBack(s, seen.Ended, now)
	case seen.OthersUnknown && (seen.Container == Absent || seen.Ended.ByHand):
		return Decision{Verdict: Wait}
	}
	return r.heal(s, seen.Ended, now)
}

func busy(id session.ID, kind session.Kind) error {
	return session.Errorf(session.CodeInProgress, "session %s is busy: %s in progress; try again when it is done", id, kind).After(time.Second)
}

func beingDeleted(s session.Session) error {
	if s.Operation.Pending() {
		return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone and takes longer than usual: %s", s.ID, s.LastError)
	}
	return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone", s.ID)
}
