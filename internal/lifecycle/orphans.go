package lifecycle

import (
	"context"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// orphans are the containers of this installation that no record knows.
type orphans struct {
	runtime session.Runtime
	opts    Options
	reports *reporter
	locks   *sessionLocks

	mu     sync.Mutex
	seen   map[string]time.Time // first sight by this process, by container ID; with a monotonic reading
	held   int                  // of them, as of the last pass
	passes int
}

// count returns how many containers without a record are kept because the store may have lost their sessions.
func (o *orphans) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held
}

// sweepOrphans removes the containers that no record knows, once they have been without one for the grace. records is how
// many sessions the store has: an empty store beside containers has more likely lost its sessions than never known them,
// so that their containers are kept until an operator decides.
func (o *orphans) sweepOrphans(ctx context.Context, found map[string]session.Container, records int) {
	fresh := o.noteOrphans(found)
	if len(found) == 0 {
		o.countHeld(ctx, 0)
		return
	}
	if records == 0 {
		o.holdOrphans(ctx, found, fresh)
		return
	}
	before, err := o.opts.Hold.Before(ctx)
	if err != nil {
		o.opts.Logger.WarnContext(ctx, "containers without a session kept: the hold cannot be read", "error", err)
		return
	}
	held := 0
	for _, c := range found {
		if !c.CreatedAt.After(before) {
			held++
			continue
		}
		o.reports.logFailure(ctx, c.Session, o.removeOrphan(ctx, c))
	}
	o.countHeld(ctx, held)
}

// noteOrphans remembers when each was seen first, and returns the IDs of those that are new. In the first pass of a
// process none is: nothing is being deleted by it yet.
func (o *orphans) noteOrphans(found map[string]session.Container) (fresh []string) {
	now := o.opts.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.passes == 0
	o.passes++
	seen := make(map[string]time.Time, len(found))
	for _, c := range found {
		at, known := o.seen[c.ID]
		if !known {
			at = now
			if !first {
				fresh = append(fresh, c.ID)
			}
		}
		seen[c.ID] = at
	}
	o.seen = seen
	return fresh
}

// holdOrphans keeps what an empty store does not know. A container that is new to this process may be that of the last
// session, which was deleted between the two lists.
func (o *orphans) holdOrphans(ctx context.Context, found map[string]session.Container, fresh []string) {
	held := 0
	for _, c := range found {
		if !slices.Contains(fresh, c.ID) && !o.locks.isWorking(c.Session) {
			held++
		}
	}
	if held > 0 && o.count() != held {
		if err := o.opts.Hold.Set(ctx, o.opts.now()); err != nil {
			o.opts.Logger.ErrorContext(ctx, "could not record that containers without a session are to be kept", "error", err)
		}
	}
	o.countHeld(ctx, held)
}

func (o *orphans) countHeld(ctx context.Context, held int) {
	o.mu.Lock()
	before := o.held
	o.held = held
	o.mu.Unlock()
	if held > before {
		o.opts.Logger.ErrorContext(ctx, "the engine has containers of this installation that the store does not know, and none is removed; "+
			"bring them back with berth store adopt, or give them up with berth store adopt --discard", "containers", held)
	}
}

// removeOrphan removes a container of this installation that no record knows, when it has been seen without one for so
// long that its record cannot be on its way. Its volumes stay: they may be all that is left of somebody's work.
func (o *orphans) removeOrphan(ctx context.Context, c session.Container) error {
	o.mu.Lock()
	unknown := o.opts.Now().Sub(o.seen[c.ID])
	o.mu.Unlock()
	if c.CreatedAt.IsZero() || unknown < o.opts.OrphanGrace || o.locks.isWorking(c.Session) || !o.opts.Peers.Mine(c.Session) {
		return nil
	}
	missing := o.opts.Peers.UnreachableSince()
	if !missing.IsZero() && c.CreatedAt.After(missing.Add(-missingMargin)) {
		o.opts.Logger.DebugContext(ctx, "container without a session kept: it may belong to an unreachable process",
			"container", c.Name, "session_id", c.Session)
		return nil
	}
	o.opts.Logger.WarnContext(ctx, "removing a container without a session", "container", c.Name, "session_id", c.Session,
		"state", c.State, "unknown_for", unknown.Round(time.Second))
	return o.runtime.Remove(ctx, c.ID, true)
}

// missingMargin allows for clocks that differ, and for what was recorded last and not heard of any more.
const missingMargin = time.Minute
