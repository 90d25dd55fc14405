package lifecycle

import (
	"context"

	"berth/internal/session"
)

// Two processes that cannot see each other's records may each make a session for one idempotent create. They have one ID,
// and the store keeps one of them. The process that has made the other one gives way: nobody else knows of its container.

// giveWayInPlace is giveWay for who does not hold the session's place. Work in progress is left alone: it finds out by
// itself, and the next comparison comes back to this.
func (f *follower) giveWayInPlace(ctx context.Context, id session.ID) error {
	at, err := f.places.reserve(id, opReconcile)
	if err != nil {
		return nil // somebody works on it, or the process is stopping
	}
	defer f.queue.release(at.Work)
	_, err = f.giveWay(ctx, id)
	return err
}

// giveWay reads a session, publishes it in place of any other of the same ID, and removes the containers of those. Their
// volumes stay: somebody may have worked in them. The caller holds the session's place.
func (f *follower) giveWay(ctx context.Context, id session.ID) (session.Session, error) {
	var other *session.Session
	if known, ok := f.routes.known(id); ok {
		other = &known
	}
	s, err := f.store.Get(ctx, id)
	if err != nil {
		return session.Session{}, err
	}
	for _, name := range f.routes.replace(s, other) {
		if name != s.ContainerName {
			f.opts.Logger.WarnContext(ctx, "another instance has made the same session, which is the one that is recorded; removing the container made here",
				"session_id", id, "container", name)
			if err := f.runtime.Remove(ctx, name, true); err != nil {
				return session.Session{}, err
			}
		}
		f.routes.removed(id, name)
	}
	return s, nil
}
