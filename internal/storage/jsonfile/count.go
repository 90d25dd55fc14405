package jsonfile

import (
	"context"
	"time"

	"berth/internal/storage/record"
)

var _ record.Counter = (*Store)(nil)

// Count counts the sessions without copying them.
func (s *Store) Count(ctx context.Context, at time.Time) (record.Counts, error) {
	if err := ended(ctx); err != nil {
		return record.Counts{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return record.Counts{}, errClosed()
	}
	counts := record.NewCounts()
	for _, e := range s.stored.sessions {
		counts.Add(e.session, at)
	}
	return counts, nil
}
