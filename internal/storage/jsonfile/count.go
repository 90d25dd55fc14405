package jsonfile

import (
	"context"
	"time"

	"berth/internal/session"
)

var _ session.Counter = (*Store)(nil)

// Count counts the sessions without copying them.
func (s *Store) Count(ctx context.Context, at time.Time) (session.Counts, error) {
	if err := ended(ctx); err != nil {
		return session.Counts{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return session.Counts{}, errClosed()
	}
	counts := session.NewCounts()
	for _, e := range s.stored.sessions {
		counts.Add(e.session, at)
	}
	return counts, nil
}
