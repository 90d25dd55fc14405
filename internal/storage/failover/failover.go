// Package failover keeps a store usable while its database is unavailable: a local store takes the changes, which are replayed
// when the database has recovered.
//
// It knows two stores and how to merge their sessions. It does not know SQL and files: it uses the ports [Primary] and
// [Local]. docs/decisions/0010-when-the-database-goes-away.md has the reasons for this design.
package failover

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/record"
)

// Primary is the authoritative store.
type Primary interface {
	session.Store
	lifecycle.Feed
	// Merge replaces a session by the result of decide, including the revision; nil is a missing session. It is done once for
	// each key. It returns the resulting session.
	Merge(ctx context.Context, key string, id session.ID, decide func(now *session.Session) *session.Session) (*session.Session, error)
}

// Local is a store of this process alone.
type Local interface {
	session.Store
	// Replace replaces all sessions of the store by these, with their revisions, in one durable step.
	Replace(ctx context.Context, sessions []session.Session) error
	// Retire is Replace and marks the store in the same step, until the next Replace: everything in it has reached the primary
	// and must not be replayed again.
	Retire(ctx context.Context, sessions []session.Session) error
	Retired() bool
	Close() error
}

// Options are the parts of a Store. Copy, Pending, HasPending and DropPending are required.
type Options struct {
	// Copy has the last known sessions of the primary: the base of every comparison. The caller closes it.
	Copy Local
	// Pending opens the journal, the store with the changes that the primary does not have yet. If it is missing, it is
	// created with the initial sessions, atomically.
	Pending    func(initial []session.Session) (Local, error)
	HasPending func() bool
	// DropPending removes the journal after its Close. If it cannot be removed, it has no effect: it is retired.
	DropPending func() error

	// Prepare prepares the primary after it has recovered; nil: no preparation.
	Prepare    func(context.Context) error
	RetryEvery time.Duration // interval of pings of the primary; default: 1 s
	Logger     *slog.Logger
}

const (
	defaultRetry = time.Second
	pingTimeout  = 2 * time.Second
	// activityEvery is the interval at which the copy is written for activity alone.
	activityEvery = 10 * time.Second
	// writeTimeout bounds the write of a copy or a journal, which is not cancelled with its request or run.
	writeTimeout = 10 * time.Second
)

// Store is the primary, or its local fallback. It is safe for concurrent use.
type Store struct {
	primary Primary
	opts    Options
	known   known         // the sessions of the primary, as far as this process has seen them
	resync  chan struct{} // holds a token after a replay: every session may have changed

	switchMu sync.Mutex // held during a switch between the two stores

	mu      sync.RWMutex // held for reading during every call of a store
	pending Local        // the active journal; nil: the primary is active
	base    map[session.ID]session.Session
	since   time.Time // when the primary was found unavailable
	reason  string
	flowed  time.Time // of the last replay

	leftover bool // a retired journal could not be removed; guarded by switchMu

	edits   atomic.Int64 // changes so far
	counted struct {     // sessions of the journal that differ from the base
		mu      sync.Mutex
		edits   int64 // when it was counted; 0: never
		pending int
	}
}

var (
	_ session.Store  = (*Store)(nil)
	_ lifecycle.Feed = (*Store)(nil)

	_ record.Counter = (*Store)(nil)
)

// Open starts with the primary if it answers, after a replay of the pending changes. Otherwise it starts with the last known
// sessions.
func Open(ctx context.Context, primary Primary, opts Options) (*Store, error) {
	opts.RetryEvery = cmp.Or(opts.RetryEvery, defaultRetry)
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	s := &Store{primary: primary, opts: opts, resync: make(chan struct{}, 1)}
	last, err := opts.Copy.List(ctx, session.Query{})
	if err != nil {
		return nil, err
	}
	live, err := s.openJournal(ctx)
	if err != nil {
		return nil, err
	}
	if !live {
		err := s.reload(ctx)
		if session.CodeOf(err) != session.CodeStoreUnavailable {
			return s, err
		}
		s.known.replace(last.Sessions)
		return s, s.degrade(ctx, err)
	}
	s.base = session.ByID(last.Sessions)
	s.edits.Add(1)
	s.since, s.reason = time.Now().UTC(), "changes made without the database have not reached it yet"
	if err := s.replay(ctx); err != nil {
		s.reason = session.MessageOf(err)
		opts.Logger.ErrorContext(ctx, "the database cannot be reached, continuing with the journal", "error", err)
	}
	return s, nil
}

// Run pings the primary, and writes the copy, until ctx is done.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.opts.RetryEvery)
	defer tick.Stop()
	written := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.Degraded() {
			s.failBack(ctx)
			continue
		}
		if err := s.ping(ctx); err != nil && ctx.Err() == nil {
			s.failOver(ctx, err)
			continue
		}
		s.dropLeftover(ctx)
		if s.known.needsCopy(time.Since(written) > activityEvery) {
			written = time.Now()
			s.writeCopy(ctx)
		}
	}
}

func (s *Store) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return s.primary.Ping(ctx)
}

func (s *Store) writeCopy(ctx context.Context) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.pending != nil {
		return // it is the base now
	}
	if _, err := s.copyKnown(ctx); err != nil {
		s.opts.Logger.WarnContext(ctx, "the copy of the database was not written, retrying", "error", err)
	}
}

// copyKnown writes the known sessions of the primary to the copy, and returns them. The write is not cancelled with ctx:
// otherwise the next process would not have what this one knew at a shutdown.
func (s *Store) copyKnown(ctx context.Context) ([]session.Session, error) {
	all, markClean := s.known.snapshot()
	if err := s.write(ctx, s.opts.Copy.Replace, all); err != nil {
		return nil, err
	}
	markClean()
	return all, nil
}

func (s *Store) write(ctx context.Context, put func(context.Context, []session.Session) error, all []session.Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return put(ctx, all)
}

// Status is the active store.
type Status struct {
	Degraded bool
	Since    time.Time // of the degradation
	Reason   string    // for operators
	Pending  int       // sessions with changes that the primary does not have
	LastFlow time.Time // of the last replay; zero: none in this process
}

// Status returns the active store, for operators.
func (s *Store) Status() Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Status{Degraded: s.pending != nil, LastFlow: s.flowed}
	if st.Degraded {
		st.Since, st.Reason = s.since, s.reason
		st.Pending = s.countPending()
	}
	return st
}

// countPending compares all sessions, so it is done only after a change. The caller holds s.mu.
func (s *Store) countPending() int {
	c := &s.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	edits := s.edits.Load()
	if edits == c.edits {
		return c.pending
	}
	if page, err := s.pending.List(context.Background(), session.Query{}); err == nil {
		changes, _ := compare(s.base, page.Sessions)
		c.edits, c.pending = edits, len(changes)
	}
	return c.pending
}

// Degraded reports whether the local store is active.
func (s *Store) Degraded() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pending != nil
}

// Close writes the copy or closes the journal, which the next process continues.
func (s *Store) Close() error {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil {
		return s.pending.Close()
	}
	if s.known.needsCopy(true) {
		_, err := s.copyKnown(context.Background())
		return err
	}
	return nil
}
