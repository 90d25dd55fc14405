package session

import (
	"slices"
	"time"
)

// Status is the public state of a session. What is being done to it meanwhile is its [Operation].
type Status string

// The four statuses of the contract.
const (
	Creating Status = "creating" // recorded; its server has not answered yet
	Running  Status = "running"  // its server has answered
	Stopped  Status = "stopped"  // its container is stopped on purpose; workspace and history are kept
	Error    Status = "error"    // it cannot be used as it is; LastError says why
)

// Statuses lists every status.
func Statuses() []Status { return []Status{Creating, Running, Stopped, Error} }

// next lists every move a session may make. A move that is not here is a bug.
var next = map[Status][]Status{
	Creating: {Running, Stopped, Error},
	Running:  {Stopped, Error},
	Stopped:  {Running, Error},
	Error:    {Running, Stopped},
}

// CanBecome reports whether a session may move from s to to. Staying is not a move and is allowed.
func (s Status) CanBecome(to Status) bool { return s == to || slices.Contains(next[s], to) }

// Occupies reports whether a session of this status counts against the limit, whatever is being done to it.
func (s Status) Occupies() bool { return s == Creating || s == Running }

// Valid reports whether s is one of the four.
func (s Status) Valid() bool { return slices.Contains(Statuses(), s) }

// EventType is the kind of a [Event].
type EventType string

// What happens to sessions.
const (
	EventCreated     EventType = "created"       // recorded; its server is being started
	EventStarting    EventType = "starting"      // somebody has asked for a start
	EventReady       EventType = "ready"         // its server has answered for the first time since a create or start
	EventRestarted   EventType = "restarted"     // its server has answered again
	EventUnhealthy   EventType = "unhealthy"     // it has failed and is being restarted
	EventOutOfMemory EventType = "out_of_memory" // its server was killed because memory ran out
	EventStopped     EventType = "stopped"       // its container is stopped
	EventFailed      EventType = "failed"        // it is in error
	EventRotated     EventType = "rotated"       // it has another token
	EventDeleted     EventType = "deleted"       // told of only where deleting it had failed before
	EventUpgraded    EventType = "upgraded"      // it runs on another image
	EventReverted    EventType = "reverted"      // it is back on the previous image, with the state of that time
)

// StopReason is why Berth itself has stopped a session.
type StopReason string

// The reasons.
const (
	StopIdle     StopReason = "idle"     // nobody has used it; the next request wakes it
	StopLifetime StopReason = "lifetime" // its time is over; it cannot be started any more
	StopEngine   StopReason = "engine"   // the engine ended its container; it is brought up again, by the next request at the latest
	StopSize     StopReason = "size"     // its volumes are over their limit; somebody has to start it again
)

// Kind is the kind of an operation.
type Kind string

// The operations.
const (
	OpCreate  Kind = "create"
	OpStart   Kind = "start"
	OpStop    Kind = "stop"
	OpRestart Kind = "restart"
	OpDelete  Kind = "delete"
	OpUpgrade Kind = "upgrade" // to another image, or back
)

// Kinds lists every kind of operation.
func Kinds() []Kind { return []Kind{OpCreate, OpStart, OpStop, OpRestart, OpDelete, OpUpgrade} }

// BringsUp reports whether the operation ends with a running session when it succeeds.
func (k Kind) BringsUp() bool {
	return k == OpCreate || k == OpStart || k == OpRestart || k == OpUpgrade
}

// KeepsUp reports whether a running session goes on being served while the operation is done.
func (k Kind) KeepsUp() bool { return k == OpCreate || k == OpStart }

// Operation is work in progress on a session. It is recorded before it acts, so that it always has an owner, a
// deadline, and a successor who may take it over when the owner is gone, or has been at it for longer than it may.
type Operation struct {
	Kind     Kind
	Owner    string    // the process that runs it; empty: it failed, and is tried again until it succeeds
	Deadline time.Time // of its owner's clock, by which the owner has given it up; without an owner, when it is tried again
}

// Pending reports whether an operation waits to be tried again.
func (o *Operation) Pending() bool { return o != nil && o.Owner == "" }

// Same reports whether two records speak of one and the same operation: an owner does one of a kind at a time, and each
// has a deadline of its own.
func (o *Operation) Same(p *Operation) bool {
	return o != nil && p != nil && o.Kind == p.Kind && o.Owner == p.Owner && o.Deadline.Equal(p.Deadline)
}
