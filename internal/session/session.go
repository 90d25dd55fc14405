// Package session is the vocabulary of Berth: sessions, the operations on them, and their events.
//
// It defines sessions, their statuses and operations, tokens, routes and failures, and the ports (Store, Runtime, Prober, Routes).
// It contains no rules, and does not depend on PostgreSQL, Docker or HTTP: it imports the standard library only, and has no
// goroutine, no lock and no clock.
package session

import (
	"slices"
	"time"
)

// Session is a user's session: one container, one workspace, one token, one address.
//
// Times are UTC and truncated to microseconds, so that every store returns them unchanged; a zero time means "never" or
// "not yet".
type Session struct {
	ID      ID
	Owner   string // opaque; the platform in front of Berth chooses it
	Profile string // name of the image profile
	Image   string // image reference that the container is made from
	// ImageSource is the source of Image: a session that follows its profile gets the profile's present image with each
	// new container; any other keeps its own.
	ImageSource ImageSource
	Upgrade     *Upgrade // the upgrade in progress, or the one that can be reverted; nil: neither
	Host        string   // engine that the container runs on; empty for the only one
	Shape       Shape    // what was asked of it beside the profile

	ContainerName string // fixed at creation, unique, and independent of ID
	ContainerID   string // empty until the container exists
	HostDir       string // directory of the workspace on the runtime's host; empty until it exists
	Port          int    // port of its server: the published one, or the container's own; 0 while it is not running

	Token   Token
	Links   []Link   // not used yet; at most [MaxLinks]
	SignIns []SignIn // of browsers; at most [MaxSignIns]

	CreatedAt    time.Time
	LastAccessed time.Time
	ExpiresAt    time.Time // zero: never

	Status       Status
	StopReason   StopReason // why Berth stopped it; empty: stopped by a command, or not stopped
	LastError    string     // one sentence for users; empty when the last operation succeeded
	Operation    *Operation // the operation in progress; nil: none
	RestartCount int        // automatic restarts since the last healthy period
	Revision     int64      // set by the store: 1 at creation, one more with each update

	Timeline []Event  // its last events, the oldest first; at most 25
	Metadata Metadata // set by the platform; a JSON object
}

// Occupies reports whether the session counts against the limit of concurrent sessions: it is creating or
// running, or an operation in progress will make it so.
func (s Session) Occupies() bool {
	return s.Status.Occupies() || s.Operation != nil && s.Operation.Kind.BringsUp()
}

// Clone returns a copy that shares nothing mutable with s.
func (s Session) Clone() Session {
	if s.Operation != nil {
		s.Operation = new(*s.Operation)
	}
	s.Links, s.SignIns = slices.Clone(s.Links), slices.Clone(s.SignIns)
	s.Shape = s.Shape.Clone()
	s.Timeline, s.Metadata, s.Upgrade = slices.Clone(s.Timeline), s.Metadata.Clone(), s.Upgrade.Clone()
	return s
}

func cloneJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(v))
		for name, member := range v {
			copied[name] = cloneJSON(member)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i, element := range v {
			copied[i] = cloneJSON(element)
		}
		return copied
	default: // other JSON values are immutable
		return v
	}
}
