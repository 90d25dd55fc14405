package lifecycle

import (
	"context"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// orphans tracks the containers of this installation that have no record.
type orphans struct {
	runtime session.Runtime
	opts    Options
	reports *reporter
	locks   *sessionLocks

	mu     sync.Mutex
	seen   map[string]time.Time // when this process first saw it, by container ID; with a monotonic reading
	held   int                  // number of kept containers in the last pass
	passes int
}

// count returns how many containers without a record are kept because the store may have lost their sessions.
func (o *orphans) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held
}

// sweepOrphans removes containers without a record after the grace period. records is the number of sessions in the store: an
// empty store beside existing containers has probably lost its data, so that the containers are kept until an operator decides.
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

// noteOrphans records when each orphan was first seen, and returns the IDs of new ones. In the first pass of a process none is
// new, because the process has not deleted a session yet.
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

// holdOrphans keeps the orphans of an empty store. It leaves out new ones: one may belong to the last session, which was deleted
// between the two lists.
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

// removeOrphan removes a container without a record once the grace period excludes that its record is still being written. Its
// volumes are kept, because they may hold the only copy of a user's work.
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

// missingMargin allows for clock differences, and for changes made just before a process became unreachable.
const missingMargin = time.Minute
