package lifecycle

import (
	"context"

	"berth/internal/session"
)

// Touch notes that the session was used just now. It is cheap and never waits.
func (m *Manager) Touch(id session.ID) { m.activity.touch(id) }

// Listen returns a channel that holds a token whenever the session may have changed, on any process, until stop is called.
func (m *Manager) Listen(id session.ID) (changed <-chan struct{}, stop func()) {
	return m.subscribers.listen(id)
}

// Health returns the health of a session's server; false if this process does not monitor it.
func (m *Manager) Health(id session.ID) (Health, bool) { return m.health.of(id) }

// Healths returns the health of every session that this process monitors, in the order of their IDs.
func (m *Manager) Healths() []Health { return m.health.all() }

// Unrecorded returns how many containers without a record are kept because the store may have lost their sessions.
func (m *Manager) Unrecorded() int { return m.orphans.count() }

// Reconcile makes one pass over every record and every container. If one of the lists cannot be read it changes nothing, because
// a container without a record could then not be told from an orphan. Sessions of another process are followed, not changed.
func (m *Manager) Reconcile(ctx context.Context) error { return m.reconciler.reconcileAll(ctx) }

// LimitsOf returns the limits that a session's next container gets.
func (m *Manager) LimitsOf(s session.Session) session.Limits {
	return m.opts.limitsOf(*m.routes.profileOf(s), s.Shape)
}

// OutOfDate returns the parts of a session's container that its next start would change; nil if there are none or no
// container exists.
func (m *Manager) OutOfDate(ctx context.Context, s session.Session) ([]session.Part, error) {
	return m.make.outOfDate(ctx, s)
}

// Close waits for the work in progress until ctx ends, then cancels it: it stays recorded, and the next process resumes it.
// No new work begins. Close may be called again.
func (m *Manager) Close(ctx context.Context) error {
	m.locks.close(ctx, m.halt)
	return nil
}
