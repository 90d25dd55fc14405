package lifecycle

import (
	"time"

	"berth/internal/session"
)

// Observation is the input of a decision beside the record and the command.
type Observation struct {
	Holder    Holder
	Container ContainerState
	Diagnosis *Diagnosis // the cause of a container that should run and does not, or of a server that does not work; nil: not diagnosed
	Server    ServerState

	// OthersUnknown means that the observed state may result from a request to another process, recorded where this one cannot read.
	OthersUnknown bool
	// Capacity is a CodePressure error while no further session may be started; nil: one may.
	Capacity error
}

// Holder tells which process runs the operation that is recorded with a session.
type Holder uint8

// The holders.
const (
	NoOperation Holder = iota // no operation is recorded
	HeldHere                  // this process runs it, or is about to
	HeldByOther               // another process runs it, or may run it
	Abandoned                 // its process has ended, or has exceeded the time allowed
	RetryLater                // it failed, and its retry is not due yet
	RetryNow                  // it failed, and its retry is due
)

// ContainerState is the state of a session's container as a decision needs it.
type ContainerState uint8

// The container states.
const (
	NotObserved ContainerState = iota // not inspected, or the runtime does not answer
	Absent                            // there is none
	Up                                // it runs
	Changing                          // it is paused or being restarted
	Down                              // it does not run
)

// ServerState is the result of a probe of a session's server.
type ServerState uint8

// The server states.
const (
	NotProbed ServerState = iota
	Working
	NotWorking
)

// Command is a request for an operation on a session. The zero Command requests none: the decision depends on the observation alone.
type Command struct {
	Kind   session.Kind
	Actor  string             // the principal or Berth itself; see [session.ActorOf]
	Reason session.StopReason // why Berth itself stops the session
	Force  bool               // preempts any operation in progress
	Wake   bool               // a start only if the session was stopped as idle or by the engine
	Resume bool               // the operation was requested before: the recorded actor and reason stay

	// prepare completes the record of an operation that needs more than its kind, or returns why it may not begin. Such an
	// operation joins no other. before is the session without the operation.
	prepare func(before session.Session, s *session.Session) error
}

// preempts reports whether the command preempts an operation of kind in progress. A delete is never preempted: what it has
// removed cannot be restored.
func (c Command) preempts(k session.Kind) bool {
	if k == session.OpDelete {
		return false
	}
	return c.Force && k != c.Kind || k.BringsUp() && !c.Kind.BringsUp()
}

// joins reports whether the command joins an operation of its kind that is in progress.
func (c Command) joins() bool { return c.prepare == nil && c.Kind != session.OpCreate }

// Verdict is the action of a decision.
type Verdict string

// The verdicts.
const (
	Keep        Verdict = "keep"         // the record is correct, or work on it is in progress
	Refuse      Verdict = "refuse"       // the command is refused
	Begin       Verdict = "begin"        // Next is recorded, and its operation is carried out
	Preempt     Verdict = "preempt"      // as Begin, and the recorded operation is cancelled
	Resume      Verdict = "resume"       // the operation that is recorded, or a stop, is begun as [Command.Resume]
	Adopt       Verdict = "adopt"        // the container belongs to the session, and its observed address is published
	ProbeServer Verdict = "probe server" // the decision depends on a probe of its server
	FindCause   Verdict = "find cause"   // the decision depends on the cause of its container's exit
	Stop        Verdict = "stop"         // the container is stopped, the record stays
	Restart     Verdict = "restart"      // Next, with a restart as its operation, is recorded; the restart is carried out after a delay
	Fail        Verdict = "fail"         // Next, in error until a command, is recorded
	Recover     Verdict = "recover"      // Next, stopped by the engine, is recorded, and started if it has a start as its operation
	Wait        Verdict = "wait"         // deferred until the other processes are reachable
)

// Decision is the result of [Rules.Decide].
type Decision struct {
	Verdict Verdict
	Refusal error           // with Refuse
	Next    session.Session // the record to write before anything is done; with Begin, Preempt, Adopt, Restart, Fail and Recover
	Kind    session.Kind    // with Resume: the operation
	Changed bool            // Next differs from the record
}

func keep() Decision { return Decision{Verdict: Keep} }

func refuse(err error) Decision { return Decision{Verdict: Refuse, Refusal: err} }

func inProgressError(id session.ID, kind session.Kind) error {
	return session.Errorf(session.CodeInProgress, "session %s is busy: %s in progress; try again when it is done", id, kind).After(time.Second)
}

func beingDeletedError(s session.Session) error {
	if s.Operation.Pending() {
		return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone and takes longer than usual: %s", s.ID, s.LastError)
	}
	return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone", s.ID)
}

// Diagnosis is the cause of a container's exit, or the reason for a restart of its server.
type Diagnosis struct {
	Cause   Cause
	Failure *session.Failure
	Advice  string // what the user can do if Berth does not restart the session; may be empty
	ByHand  bool   // the container was stopped through the engine's API, by an operator or another process
}

// message is the failure followed by the advice, for sessions that Berth does not restart.
func (e Diagnosis) message() string {
	if e.Advice == "" {
		return e.Failure.Message
	}
	return e.Failure.Message + "; " + e.Advice
}

// cause is the cause of a restart. It allows d to be nil, as in a restart that was interrupted and is resumed.
func (e *Diagnosis) cause() Cause {
	if e == nil {
		return CauseStart
	}
	return e.Cause
}
