package lifecycle

import (
	"context"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// OrphanHold remembers, with the sessions, which containers without a record must not be removed: those that were there
// before the sessions were. It outlives the process, and all processes on a store share it.
type OrphanHold interface {
	// Set keeps the containers that were made before that time. A hold that reaches further stays.
	Set(ctx context.Context, before time.Time) error
	// Before returns what was set; zero: nothing.
	Before(ctx context.Context) (time.Time, error)
}

// orphans are the containers of this installation that no record knows.
type orphans struct {
	mu     sync.Mutex
	seen   map[string]time.Time // first sight by this process, by container ID; with a monotonic reading
	held   int                  // of them, as of the last pass
	passes int
}

// Unrecorded returns how many containers without a record are kept because the store may have lost their sessions.
func (m *Manager) Unrecorded() int {
	m.orphans.mu.Lock()
	defer m.orphans.mu.Unlock()
	return m.orphans.held
}

// sweepOrphans removes the containers that no record knows, once they have been without one for the grace. records is how
// many sessions the store has: an empty store beside containers has more likely lost its sessions than never known them,
// so that their containers are kept until an operator decides.
func (m *Manager) sweepOrphans(ctx context.Context, found map[string]session.Container, records int) {
	fresh := m.noteOrphans(found)
	if len(found) == 0 {
		m.countHeld(ctx, 0)
		return
	}
	if records == 0 {
		m.holdOrphans(ctx, found, fresh)
		return
	}
	before, err := m.opts.Hold.Before(ctx)
	if err != nil {
		m.opts.Logger.WarnContext(ctx, "containers without a session left alone: it is not known which of them are held", "error", err)
		return
	}
	held := 0
	for _, c := range found {
		if !c.CreatedAt.After(before) {
			held++
			continue
		}
		m.report(ctx, c.Session, m.removeOrphan(ctx, c))
	}
	m.countHeld(ctx, held)
}

// noteOrphans remembers when each was seen first, and returns the IDs of those that are new. In the first pass of a
// process none is: nothing is being deleted by it yet.
func (m *Manager) noteOrphans(found map[string]session.Container) (fresh []string) {
	now := m.opts.Now()
	m.orphans.mu.Lock()
	defer m.orphans.mu.Unlock()
	first := m.orphans.passes == 0
	m.orphans.passes++
	seen := make(map[string]time.Time, len(found))
	for _, c := range found {
		at, known := m.orphans.seen[c.ID]
		if !known {
			at = now
			if !first {
				fresh = append(fresh, c.ID)
			}
		}
		seen[c.ID] = at
	}
	m.orphans.seen = seen
	return fresh
}

// holdOrphans keeps what an empty store does not know. A container that is new to this process may be that of the last
// session, which was deleted between the two lists.
func (m *Manager) holdOrphans(ctx context.Context, found map[string]session.Container, fresh []string) {
	held := 0
	for _, c := range found {
		if !slices.Contains(fresh, c.ID) && !m.isWorking(c.Session) {
			held++
		}
	}
	if held > 0 && m.Unrecorded() != held {
		if err := m.opts.Hold.Set(ctx, m.now()); err != nil {
			m.opts.Logger.ErrorContext(ctx, "could not record that containers without a session are to be kept", "error", err)
		}
	}
	m.countHeld(ctx, held)
}

func (m *Manager) countHeld(ctx context.Context, held int) {
	m.orphans.mu.Lock()
	before := m.orphans.held
	m.orphans.held = held
	m.orphans.mu.Unlock()
	if held > before {
		m.opts.Logger.ErrorContext(ctx, "the engine has containers of this installation that the store does not know, and none is removed; "+
			"bring them back with berth store adopt, or give them up with berth store adopt --discard", "containers", held)
	}
}

// removeOrphan removes a container of this installation that no record knows, when it has been seen without one for so
// long that its record cannot be on its way. Its volumes stay: they may be all that is left of somebody's work.
func (m *Manager) removeOrphan(ctx context.Context, c session.Container) error {
	m.orphans.mu.Lock()
	unknown := m.opts.Now().Sub(m.orphans.seen[c.ID])
	m.orphans.mu.Unlock()
	if c.CreatedAt.IsZero() || unknown < m.opts.OrphanGrace || m.isWorking(c.Session) || !m.opts.Peers.Mine(c.Session) {
		return nil
	}
	missing := m.opts.Peers.UnreachableSince()
	if !missing.IsZero() && c.CreatedAt.After(missing.Add(-missingMargin)) {
		m.opts.Logger.DebugContext(ctx, "container without a session left alone: it may be that of a process that cannot be heard",
			"container", c.Name, "session_id", c.Session)
		return nil
	}
	m.opts.Logger.WarnContext(ctx, "removing a container without a session", "container", c.Name, "session_id", c.Session,
		"state", c.State, "unknown_for", unknown.Round(time.Second))
	return m.runtime.Remove(ctx, c.ID, true)
}

// missingMargin allows for clocks that differ, and for what was recorded last and not heard of any more.
const missingMargin = time.Minute

// heldInMemory is the hold of a Manager that was given none: it ends with the process.
type heldInMemory struct {
	mu     sync.Mutex
	before time.Time
}

func (h *heldInMemory) Set(_ context.Context, before time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if before.After(h.before) {
		h.before = before
	}
	return nil
}

func (h *heldInMemory) Before(context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.before, nil
}
