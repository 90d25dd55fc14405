package session

import (
	"slices"
	"time"
)

// Status is the public state of a session. Work in progress on it is its [Operation].
type Status string

// The four statuses of the contract.
const (
	Creating Status = "creating" // recorded; its server is not ready yet
	Running  Status = "running"  // its server was ready
	Stopped  Status = "stopped"  // its container was stopped deliberately; workspace and history are kept
	Error    Status = "error"    // it cannot be used; LastError is the reason
)

// Statuses lists every status.
func Statuses() []Status { return []Status{Creating, Running, Stopped, Error} }

// next lists every allowed change of status. Any other change is a bug.
var next = map[Status][]Status{
	Creating: {Running, Stopped, Error},
	Running:  {Stopped, Error},
	Stopped:  {Running, Error},
	Error:    {Running, Stopped},
}

// CanBecome reports whether a session may change from s to to. The same status is allowed.
func (s Status) CanBecome(to Status) bool { return s == to || slices.Contains(next[s], to) }

// Occupies reports whether a session of this status counts against the limit, with or without an operation.
func (s Status) Occupies() bool { return s == Creating || s == Running }

// Valid reports whether s is one of the four.
func (s Status) Valid() bool { return slices.Contains(Statuses(), s) }

// EventType is the kind of an [Event].
type EventType string

// The event types.
const (
	EventCreated     EventType = "created"       // recorded; its server is being started
	EventCloning     EventType = "cloning"       // its repository is being cloned into the workspace; the reason is its URL
	EventStarting    EventType = "starting"      // a start was requested
	EventReady       EventType = "ready"         // its server is ready after a create or start
	EventRestarted   EventType = "restarted"     // its server is ready after a restart
	EventUnhealthy   EventType = "unhealthy"     // it has failed and is being restarted
	EventOutOfMemory EventType = "out_of_memory" // its server was killed because memory ran out
	EventStopped     EventType = "stopped"       // its container was stopped
	EventFailed      EventType = "failed"        // it is in error
	EventRotated     EventType = "rotated"       // it has another token
	EventDeleted     EventType = "deleted"       // reported only if a delete had failed before
	EventUpgraded    EventType = "upgraded"      // it runs on another image
	EventBlocked     EventType = "blocked"       // the gateway has refused a request of its container
	EventReverted    EventType = "reverted"      // it is back on the previous image, with the state of that time
)

// StopReason is the reason of an automatic stop.
type StopReason string

// The reasons.
const (
	StopIdle     StopReason = "idle"     // it was not used; the next request wakes it
	StopLifetime StopReason = "lifetime" // its lifetime has ended; it cannot be started any more
	StopEngine   StopReason = "engine"   // the engine stopped its container; it is started again, by the next request at the latest
	StopSize     StopReason = "size"     // its volumes exceed their limit; only a command starts it again
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
	OpUpgrade Kind = "upgrade" // to another image, or its revert
)

// Kinds lists every kind of operation.
func Kinds() []Kind { return []Kind{OpCreate, OpStart, OpStop, OpRestart, OpDelete, OpUpgrade} }

// BringsUp reports whether the operation ends with a running session when it succeeds.
func (k Kind) BringsUp() bool {
	return k == OpCreate || k == OpStart || k == OpRestart || k == OpUpgrade
}

// KeepsUp reports whether a running session is still served during the operation.
func (k Kind) KeepsUp() bool { return k == OpCreate || k == OpStart }

// Operation is work in progress on a session. It is recorded before it acts, so that it always has an owner and a deadline, and
// another process can take it over if the owner has ended or exceeds the time allowed.
type Operation struct {
	Kind     Kind
	Owner    string    // the process that runs it; empty: it failed, and is retried until it succeeds
	Deadline time.Time // by the owner's clock, when the owner gives up; without an owner, the time of the retry
}

// Pending reports whether an operation waits for its retry.
func (o *Operation) Pending() bool { return o != nil && o.Owner == "" }

// Same reports whether two records are of the same operation: an owner runs one of a kind at a time, and each has a different
// deadline.
func (o *Operation) Same(p *Operation) bool {
	return o != nil && p != nil && o.Kind == p.Kind && o.Owner == p.Owner && o.Deadline.Equal(p.Deadline)
}
