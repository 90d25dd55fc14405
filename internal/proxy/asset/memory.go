package asset

import (
	"sync"

	"berth/internal/session"
)

// memory bounds the bytes of files that are read, or being sent, outside of the store: of all sessions, and of each.
type memory struct {
	limit, perSession int64

	mu   sync.Mutex
	used int64
	of   map[session.ID]int64 // only sessions that use some
}

// take reserves bytes for a session and reports whether there are so many.
func (m *memory) take(id session.ID, bytes int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used+bytes > m.limit || m.of[id]+bytes > m.perSession {
		return false
	}
	if m.of == nil {
		m.of = map[session.ID]int64{}
	}
	m.used += bytes
	m.of[id] += bytes
	return true
}

// give returns bytes that were reserved.
func (m *memory) give(id session.ID, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= bytes
	if m.of[id] -= bytes; m.of[id] <= 0 {
		delete(m.of, id)
	}
}
