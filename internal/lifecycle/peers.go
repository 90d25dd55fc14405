package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// Peers tells which processes work on the store, and assigns each session to one of them. Its answers are cached and may be some
// seconds old, so that correctness must not depend on them: conflicts between processes are resolved by the store's revisions.
type Peers interface {
	// Alive reports whether the process of that name may still be running, because its lease is valid. It may read the store
	// before it returns false.
	Alive(process string) bool
	// Mine reports whether this process is responsible for the session's background work. Exactly one of the running
	// processes is.
	Mine(id session.ID) bool
	// UnreachableSince is the earliest last contact with a process that is unreachable and has not deregistered. Containers
	// created since then may be its own, recorded where other processes cannot read. Zero: no process is unreachable.
	UnreachableSince() time.Time
	// Unreachable reports whether another process may have acted on sessions before that time without a record that this
	// process can read: the store is unavailable, or a process has been unreachable since before then. It reads memory only.
	Unreachable(since time.Time) bool
}

// Feed delivers change notifications of other processes. Shared stores have one.
type Feed interface {
	// Watch calls changed for each session that any process creates, updates or deletes, and missed whenever notifications may
	// have been lost, also once at the beginning. Touches are not reported. Both are called from one goroutine. It blocks until
	// ctx ends, and returns ctx's error.
	Watch(ctx context.Context, missed func(), changed func(session.ID)) error
}

// soleProcess is the Peers of a store that only one process uses.
type soleProcess struct{ process string }

func (a soleProcess) Alive(process string) bool { return process == a.process }
func (soleProcess) Mine(session.ID) bool        { return true }
func (soleProcess) UnreachableSince() time.Time { return time.Time{} }
func (soleProcess) Unreachable(time.Time) bool  { return false }
