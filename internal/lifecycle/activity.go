package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// activity collects who was active, so that the store hears of it at most once a second, however many requests come.
type activity struct {
	mu   sync.Mutex
	seen map[session.ID]time.Time
}

// flushEvery is how much activity a crash may lose.
const flushEvery = time.Second

// Touch notes that the session was used just now. It is cheap and never waits.
func (m *Manager) Touch(id session.ID) {
	now := m.now()
	m.activity.mu.Lock()
	m.activity.seen[id] = now
	m.activity.mu.Unlock()
}

// flush writes what was noted. What cannot be written is kept for the next time.
func (m *Manager) flush(ctx context.Context) error {
	a := &m.activity
	a.mu.Lock()
	seen := a.seen
	a.seen = map[session.ID]time.Time{}
	a.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	err := m.store.Touch(ctx, seen)
	if err == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range seen {
		if at.After(a.seen[id]) {
			a.seen[id] = at
		}
	}
	return err
}
