package lifecycle

import (
	"time"

	"berth/internal/session"
)

// Observation is what a decision depends on beside the record.
type Observation struct {
	Holder    Holder
	Container ContainerState
	Diagnosis *Diagnosis // why a container that should run does not, or why its server does not work; nil: not diagnosed
	Server    ServerState

	// OthersUnknown says that the observed state may be the result of a request to another process, whose record cannot be read here.
	OthersUnknown bool
	// Capacity is why no further session may begin to run, as a CodePressure error; nil: one may.
	Capacity error
}

// Holder says which process runs the operation that is recorded with a session.
type Holder uint8

// The holders.
const (
	NoOperation Holder = iota // no operation is recorded
	HeldHere                  // this process does it, or is about to
	HeldByOther               // another process does it, or may do it
	Abandoned                 // its process has ended, or has exceeded the time allowed
	RetryLater                // it failed, and waits to be tried again
	RetryNow                  // it failed, and is to be tried again
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

// Command is a request to a session. The zero Command requests nothing: the decision depends on the observation alone.
type Command struct {
	Kind   session.Kind
	Actor  string             // on whose behalf; see [session.ActorOf]
	Reason session.StopReason // why Berth itself stops the session
	Force  bool               // preempts any operation in progress
	Wake   bool               // a start only if the session was stopped as idle or by the engine
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

// joins reports whether the command joins an operation of its kind that is in progress.
func (c Command) joins() bool { return c.prepare == nil && c.Kind != session.OpCreate }

// Verdict is the action that a decision demands.
type Verdict string

// The verdicts.
const (
	Keep        Verdict = "keep"         // all is as recorded, or on its way
	Refuse      Verdict = "refuse"       // the command is refused
	Begin       Verdict = "begin"        // the operation of Next is recorded and done
	Preempt     Verdict = "preempt"      // as Begin, and the recorded operation is cancelled
	Resume      Verdict = "resume"       // the operation that is recorded, or a stop, is begun as [Command.Resume]
	Adopt       Verdict = "adopt"        // the container is the session's and its server is where it was found
	ProbeServer Verdict = "probe server" // the decision depends on a probe of its server
	FindCause   Verdict = "find cause"   // the decision depends on why its container does not run
	Stop        Verdict = "stop"         // the container is stopped, the record stays
	Restart     Verdict = "restart"      // Next, which has a restart, is recorded; it is done after a delay
	Fail        Verdict = "fail"         // Next, in error until somebody acts, is recorded
	Recover     Verdict = "recover"      // Next, stopped by the engine, is recorded, and started if it says so
	Wait        Verdict = "wait"         // nothing is done until the other processes are known again
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

// Diagnosis is why a container that should run does not, or why its server has to be restarted.
type Diagnosis struct {
	Cause   Cause
	Failure *session.Failure
	Advice  string // what to do where Berth does not restart the session; may be empty
	ByHand  bool   // somebody with access to the engine, or another process, has stopped the container
}

// message is the failure with the advice, for sessions that Berth does not restart.
func (e Diagnosis) message() string {
	if e.Advice == "" {
		return e.Failure.Message
	}
	return e.Failure.Message + "; " + e.Advice
}

// cause is why the server is restarted. A restart that was interrupted and is resumed has no diagnosis: nil.
func (e *Diagnosis) cause() Cause {
	if e == nil {
		return CauseStart
	}
	return e.Cause
}
