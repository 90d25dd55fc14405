package lifecycle

import (
	"context"

	"berth/internal/session"
)

// Two processes that cannot read each other's records may each create a session for the same idempotent request. Both sessions
// have the same ID, and the store keeps one of them. The process that created the other one removes its container, because no
// other process knows that container.

// duplicates removes the containers of this process's duplicate sessions.
type duplicates struct {
	store   session.Store
	runtime session.Runtime
	opts    Options
	routes  *publisher
	locks   *sessionLocks
	queue   *queue
}

// tryResolve is resolve for a caller that does not hold the session's lock. It does nothing while work is in progress: that notices
// the other session itself, and the next reconciliation repeats this.
func (t *duplicates) tryResolve(ctx context.Context, id session.ID) error {
	at, err := t.locks.acquire(id, opReconcile)
	if err != nil {
		return nil // work is in progress, or the process is stopping
	}
	defer t.queue.release(at.Work)
	_, err = t.resolve(ctx, id)
	return err
}

// resolve reads a session, publishes it in place of its duplicates, and removes their containers. Their volumes are kept, because
// a user may have worked in them. The caller holds the session's lock.
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
			t.opts.Logger.WarnContext(ctx, "another instance has created the same session and its record is kept; removing the container created here",
				"session_id", id, "container", name)
			if err := t.runtime.Remove(ctx, name, true); err != nil {
				return session.Session{}, err
			}
		}
		t.routes.removed(id, name)
	}
	return s, nil
}
