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

// Health returns what is known of a session's server; false when nobody looks after it here.
func (m *Manager) Health(id session.ID) (Health, bool) { return m.health.of(id) }

// Healths returns what is known of every session that this process looks after, in the order of their IDs.
func (m *Manager) Healths() []Health { return m.health.all() }

// Unrecorded returns how many containers without a record are kept because the store may have lost their sessions.
func (m *Manager) Unrecorded() int { return m.orphans.count() }

// Reconcile makes one pass over every record and every container. When either list cannot be had it changes nothing:
// what is not known is not an orphan. Sessions that another process looks after are followed and left alone.
func (m *Manager) Reconcile(ctx context.Context) error { return m.reconciler.reconcileAll(ctx) }

// OutOfDate names what a session's container would get with its next start: nothing when it is as it would be made now, or
// when there is none.
func (m *Manager) OutOfDate(ctx context.Context, s session.Session) ([]session.Part, error) {
	return m.make.outOfDate(ctx, s)
}

// Close waits for the work in progress until ctx ends, then cuts it short: it stays recorded, and the next process
// takes it up. No new work begins. Close may be called again.
func (m *Manager) Close(ctx context.Context) error {
	m.locks.close(ctx, m.halt)
	return nil
}
