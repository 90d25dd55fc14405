package lifecycle

import (
	"context"
	"slices"

	"berth/internal/session"
)

// Two processes that cannot see each other's records may each make a session for one idempotent create. They have one ID,
// and the store keeps one of them. The process that has made the other one gives way: nobody else knows of its container.

// isTwin reports whether another session of this ID is known here than the one that is recorded.
func (m *Manager) isTwin(s session.Session) bool {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.newest[s.ID]
	return ok && !known.CreatedAt.Equal(s.CreatedAt) || len(p.displaced[s.ID]) > 0
}

// giveWayInPlace is giveWay for who does not hold the session's place. Work in progress is left alone: it finds out by
// itself, and the next comparison comes back to this.
func (m *Manager) giveWayInPlace(ctx context.Context, id session.ID) error {
	at, err := m.reserve(id, opReconcile)
	if err != nil {
		return nil // somebody works on it, or the process is stopping
	}
	defer m.release(at.Work)
	_, err = m.giveWay(ctx, id)
	return err
}

// giveWay reads a session, publishes it in place of any other of the same ID, and removes the containers of those. Their
// volumes stay: somebody may have worked in them. The caller holds the session's place.
func (m *Manager) giveWay(ctx context.Context, id session.ID) (session.Session, error) {
	p := &m.published
	p.mu.Lock()
	known, ok := p.newest[id]
	p.mu.Unlock()
	s, err := m.store.Get(ctx, id)
	if err != nil {
		return session.Session{}, err
	}
	p.mu.Lock()
	if ok && !known.CreatedAt.Equal(s.CreatedAt) && p.newest[id].CreatedAt.Equal(known.CreatedAt) {
		p.address[id] = ""
		m.route(s)
	}
	containers := slices.Clone(p.displaced[id])
	p.mu.Unlock()
	for _, name := range containers {
		if name != s.ContainerName {
			m.opts.Logger.WarnContext(ctx, "another instance has made the same session, which is the one that is recorded; removing the container made here",
				"session_id", id, "container", name)
			if err := m.runtime.Remove(ctx, name, true); err != nil {
				return session.Session{}, err
			}
		}
		p.mu.Lock()
		p.displaced[id] = slices.DeleteFunc(p.displaced[id], func(n string) bool { return n == name })
		if len(p.displaced[id]) == 0 {
			delete(p.displaced, id)
		}
		p.mu.Unlock()
	}
	return s, nil
}
