// Package failover keeps a store of use while its database is away: a local store takes every change, and what was
// changed flows back when the database returns.
//
// It knows two stores and how to bring their sessions together. It refuses to know SQL and files: the ports [Primary] and
// [Local] are all it sees of them. docs/decisions/0010-when-the-database-goes-away.md says why it works like this.
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

// Primary is the store that counts.
type Primary interface {
	session.Store
	lifecycle.Feed
	// Merge lets decide make of a session what it shall be from now on, revision included; nil is a session that is not
	// there. It happens once for each key. It returns the session as it is afterwards.
	Merge(ctx context.Context, key string, id session.ID, decide func(now *session.Session) *session.Session) (*session.Session, error)
}

// Local is a store of this process alone.
type Local interface {
	session.Store
	// Replace makes the store hold these sessions, with the revisions they have, in one durable step.
	Replace(ctx context.Context, sessions []session.Session) error
	// Retire does the same and marks the store in that step, until the next Replace: everything in it has reached the
	// primary, and must never flow back again.
	Retire(ctx context.Context, sessions []session.Session) error
	Retired() bool
	Close() error
}

// Options are the parts of a Store. Copy, Pending, HasPending and DropPending are required.
type Options struct {
	// Copy remembers what the primary had when last seen: the base of every comparison. The caller closes it.
	Copy Local
	// Pending opens the store of what the primary does not have yet. One that is not there begins with the sessions given,
	// whole or not at all.
	Pending    func(initial []session.Session) (Local, error)
	HasPending func() bool
	// DropPending removes it after its Close. One that cannot be removed does no harm: it is retired.
	DropPending func() error

	// Prepare makes the primary ready when it answers again. Default: nothing is to be done.
	Prepare    func(context.Context) error
	RetryEvery time.Duration // how often the primary is tried; default: 1 s
	Logger     *slog.Logger
}

const (
	defaultRetry = time.Second
	pingTimeout  = 2 * time.Second
	// activityEvery is how often a copy is written in which nothing but activity is new.
	activityEvery = 10 * time.Second
	// writeTimeout bounds the write of a copy or a journal, which outlives the request or the run that asked for it.
	writeTimeout = 10 * time.Second
)

// Store is the primary, or what stands in for it. It is safe for concurrent use.
type Store struct {
	primary Primary
	opts    Options
	known   known         // what the primary has, as far as this process has seen
	again   chan struct{} // holds a token after a flow back: everything may be another

	switchMu sync.Mutex // held while deciding which of the two stores works

	mu      sync.RWMutex // held for reading during every call of a store
	pending Local        // nil: the primary works
	base    map[session.ID]session.Session
	since   time.Time // when the primary was found away
	reason  string
	flowed  time.Time // when changes last flowed back

	leftover bool // a retired journal is still there; guarded by turn

	edits   atomic.Int64 // changes so far
	counted struct {     // how many of its sessions differ from the base
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

// Open begins with the primary if it answers, after changes that are still pending have flowed back. Otherwise it begins
// with what was last known.
func Open(ctx context.Context, primary Primary, opts Options) (*Store, error) {
	opts.RetryEvery = cmp.Or(opts.RetryEvery, defaultRetry)
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	s := &Store{primary: primary, opts: opts, again: make(chan struct{}, 1)}
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
	if err := s.flowBack(ctx); err != nil {
		s.reason = session.MessageOf(err)
		opts.Logger.ErrorContext(ctx, "the database cannot be reached; going on without it, with changes that it does not have", "error", err)
	}
	return s, nil
}

// Run tries the primary, and writes the copy, until ctx ends.
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
		s.opts.Logger.WarnContext(ctx, "the copy of the database was not written; trying again", "error", err)
	}
}

// copyKnown makes the copy hold what the primary is known to have, and returns that. The write outlives ctx: one that is
// cut short by a shutdown would leave the next process without what this one knew.
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

// Status says which store works.
type Status struct {
	Degraded bool
	Since    time.Time // of the degradation
	Reason   string    // for people
	Pending  int       // sessions with changes that the primary does not have
	LastFlow time.Time // when changes last flowed back; zero: never in this process
}

// Status tells operators.
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

// countPending compares every session, so it is done only after a change. The caller holds s.mu.
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

// Degraded reports whether the local store works.
func (s *Store) Degraded() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pending != nil
}

// Close writes what is known and closes the store of pending changes, which the next process takes up.
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
