package app

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// countsAge is how old the counts of sessions may be that /health and /metrics give. Changes made by this process are seen
// at once, those of other instances after that.
const countsAge = time.Second

// countedStore keeps the counts of sessions, so that reading them often costs nothing.
type countedStore struct {
	session.Store
	watch   stopwatch
	changes atomic.Int64 // made through this store so far

	mu     sync.Mutex
	counts session.Counts
	at     time.Time // when they were counted; zero: never
	after  int64     // changes
}

func newCountedStore(store session.Store, watch stopwatch) *countedStore {
	return &countedStore{Store: store, watch: watch}
}

// Create implements [session.Store].
func (s *countedStore) Create(ctx context.Context, v session.Session, max int) (session.Session, error) {
	defer s.changes.Add(1)
	return s.Store.Create(ctx, v, max)
}

// Update implements [session.Store].
func (s *countedStore) Update(ctx context.Context, v session.Session, max int) (session.Session, error) {
	defer s.changes.Add(1)
	return s.Store.Update(ctx, v, max)
}

// Delete implements [session.Store].
func (s *countedStore) Delete(ctx context.Context, id session.ID, revision int64) error {
	defer s.changes.Add(1)
	return s.Store.Delete(ctx, id, revision)
}

// Count returns the counts, which must not be changed. One caller at a time asks the store.
func (s *countedStore) Count(ctx context.Context) (session.Counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := s.changes.Load()
	if !s.at.IsZero() && changes == s.after && time.Since(s.at) < countsAge {
		return s.counts, nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	begun := time.Now()
	counts, err := session.CountSessions(ctx, s.Store, begun)
	s.watch.stop("count", begun, err)
	if err != nil {
		return session.NewCounts(), err
	}
	s.counts, s.at, s.after = counts, time.Now(), changes
	return counts, nil
}
