package metrics

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// countsAge is the greatest age of the counts of sessions in /health and /metrics. Changes by this process are included at
// once, those of other instances after this time.
const countsAge = time.Second

// countTimeout bounds one count.
const countTimeout = 2 * time.Second

// Store measures every call of a store, and keeps the counts of its sessions, so that reading them often costs nothing.
type Store struct {
	session.Store
	calls   calls
	changes atomic.Int64 // made through this store so far

	mu     sync.Mutex
	counts record.Counts
	at     time.Time // when the sessions were counted; zero: never
	after  int64     // changes
}

// Store measures the calls of a store, which may be a [record.Counter].
func (m *Metrics) Store(of session.Store) *Store { return &Store{Store: of, calls: m.store} }

// Count returns the counts, which callers must not modify. One caller at a time queries the store.
func (s *Store) Count(ctx context.Context) (record.Counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := s.changes.Load()
	if !s.at.IsZero() && changes == s.after && time.Since(s.at) < countsAge {
		return s.counts, nil
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	begun := time.Now()
	counts, err := record.CountSessions(ctx, s.Store, begun)
	s.calls.done("count", begun, err)
	if err != nil {
		return record.NewCounts(), err
	}
	s.counts, s.at, s.after = counts, time.Now(), changes
	return counts, nil
}

// Create implements [session.Store].
func (s *Store) Create(ctx context.Context, v session.Session, max session.Quota) (made session.Session, err error) {
	defer func(begun time.Time) { s.calls.done("create", begun, err); s.changes.Add(1) }(time.Now())
	return s.Store.Create(ctx, v, max)
}

// Get implements [session.Store].
func (s *Store) Get(ctx context.Context, id session.ID) (found session.Session, err error) {
	defer func(begun time.Time) { s.calls.done("get", begun, err) }(time.Now())
	return s.Store.Get(ctx, id)
}

// Update implements [session.Store].
func (s *Store) Update(ctx context.Context, v session.Session, max int) (updated session.Session, err error) {
	defer func(begun time.Time) { s.calls.done("update", begun, err); s.changes.Add(1) }(time.Now())
	return s.Store.Update(ctx, v, max)
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID, revision int64) (err error) {
	defer func(begun time.Time) { s.calls.done("delete", begun, err); s.changes.Add(1) }(time.Now())
	return s.Store.Delete(ctx, id, revision)
}

// List implements [session.Store].
func (s *Store) List(ctx context.Context, q session.Query) (page session.Page, err error) {
	defer func(begun time.Time) { s.calls.done("list", begun, err) }(time.Now())
	return s.Store.List(ctx, q)
}

// Touch implements [session.Store].
func (s *Store) Touch(ctx context.Context, at map[session.ID]time.Time) (err error) {
	defer func(begun time.Time) { s.calls.done("touch", begun, err) }(time.Now())
	return s.Store.Touch(ctx, at)
}

// Ping implements [session.Store].
func (s *Store) Ping(ctx context.Context) (err error) {
	defer func(begun time.Time) { s.calls.done("ping", begun, err) }(time.Now())
	return s.Store.Ping(ctx)
}
