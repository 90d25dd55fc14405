package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// Peers says which processes work on the store, and divides the sessions among them. Answers come from memory and may be
// some seconds old, so that nothing may depend on them alone: what two processes do to one session is decided by the
// store's revisions.
type Peers interface {
	// Alive reports whether the process of that name may still be at work: it has renewed its lease lately. To say no may
	// take a look at the store.
	Alive(process string) bool
	// Mine reports whether this process looks after the session in the background. Of the processes that are alive
	// one does.
	Mine(id session.ID) bool
	// UnreachableSince is when the first of those processes was last heard of that have not deregistered. What has been
	// made on the engine since then may be theirs, and recorded where nobody else can read it. Zero: none is missing.
	UnreachableSince() time.Time
	// Unreachable reports whether another process may have acted on sessions before that time without its being recorded
	// where this process reads: the store is away, or one of them has not been heard of since. It asks nobody.
	Unreachable(since time.Time) bool
}

// Feed tells what other processes do to sessions. Stores that are shared have one.
type Feed interface {
	// Watch calls changed for each session that anybody creates, updates or deletes, and missed whenever changes may
	// have gone unnoticed, which includes the beginning. Touches are not reported. Both are called from one goroutine.
	// It goes on until ctx ends, and then returns ctx's error.
	Watch(ctx context.Context, missed func(), changed func(session.ID)) error
}

// soleProcess is the only process on a store that admits no other.
type soleProcess struct{ process string }

func (a soleProcess) Alive(process string) bool { return process == a.process }
func (soleProcess) Mine(session.ID) bool        { return true }
func (soleProcess) UnreachableSince() time.Time { return time.Time{} }
func (soleProcess) Unreachable(time.Time) bool  { return false }
