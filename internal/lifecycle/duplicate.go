package lifecycle

import (
	"context"

	"berth/internal/session"
)

// Two processes that cannot see each other's records may each make a session for one idempotent create. They have one ID,
// and the store keeps one of them. The process that created the other one removes its container, which no other process knows.

// duplicates removes the containers of sessions that another process has made under the same ID.
type duplicates struct {
	store   session.Store
	runtime session.Runtime
	opts    Options
	routes  *publisher
	locks   *sessionLocks
	queue   *queue
}

// giveWayInPlace is giveWay for who does not hold the session's lock. Work in progress is left alone: it finds out by
// itself, and the next comparison comes back to this.
func (t *duplicates) tryResolve(ctx context.Context, id session.ID) error {
	at, err := t.locks.acquire(id, opReconcile)
	if err != nil {
		return nil // somebody works on it, or the process is stopping
	}
	defer t.queue.release(at.Work)
	_, err = t.resolve(ctx, id)
	return err
}

// resolve reads a session, publishes it in place of any other of the same ID, and removes the containers of those. Their
// volumes stay: somebody may have worked in them. The caller holds the session's lock.
func (t *duplicates) resolve(ctx context.Context, id session.ID) (session.Session, error) {
	var other *session.Session
	if known, ok := t.routes.known(id); ok {
		other = &known
	}
	s, err := t.store.Get(ctx, id)
	if err != nil {
		return session.Session{}, err
	}
	for _, name := range t.routes.replace(s, other) {
		if name != s.ContainerName {
			t.opts.Logger.WarnContext(ctx, "another instance has made the same session, which is the one that is recorded; removing the container made here",
				"session_id", id, "container", name)
			if err := t.runtime.Remove(ctx, name, true); err != nil {
				return session.Session{}, err
			}
		}
		t.routes.removed(id, name)
	}
	return s, nil
}
