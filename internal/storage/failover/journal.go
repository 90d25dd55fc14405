package failover

import (
	"context"

	"berth/internal/session"
)

// openJournal opens the journal of an earlier process and makes it the store that works, if it is live.
func (s *Store) openJournal(ctx context.Context) (live bool, err error) {
	if !s.opts.HasPending() {
		return false, nil
	}
	journal, err := s.opts.Pending(nil)
	if err != nil {
		return false, err
	}
	if journal.Retired() {
		s.drop(ctx, journal)
		return false, nil
	}
	s.pending = journal
	return true, nil
}

// newJournal begins a journal with these sessions. The copy, which is its base, holds them already.
func (s *Store) newJournal(ctx context.Context, sessions []session.Session) (Local, error) {
	journal, err := s.opts.Pending(sessions)
	if err != nil || !s.leftover {
		return journal, err
	}
	// What was opened is the retired one. It is live from this write on.
	if err := s.write(ctx, journal.Replace, sessions); err != nil {
		_ = journal.Close() // it is as it was
		return nil, err
	}
	s.leftover = false
	return journal, nil
}

// retire ends the journal, of which everything has reached the primary. It is marked in one durable step before anything
// newer is written, so that it does not matter whether it can be removed, nor when this process dies. The copy is made
// equal to it first: a process that starts without the primary after the mark goes on with that.
func (s *Store) retire(ctx context.Context, sessions []session.Session) error {
	s.base = session.ByID(sessions)
	s.edits.Add(1)
	if err := s.write(ctx, s.opts.Copy.Replace, sessions); err != nil {
		return err
	}
	if err := s.write(ctx, s.pending.Retire, sessions); err != nil && !s.pending.Retired() { // which a disk that fails late may have kept
		return err
	}
	s.drop(ctx, s.pending)
	return nil
}

// drop closes and removes a retired journal. What cannot be removed is tried again by [Store.Run]. The caller holds s.turn, or
// is the only one.
func (s *Store) drop(ctx context.Context, journal Local) {
	if err := journal.Close(); err != nil {
		s.opts.Logger.WarnContext(ctx, "the journal was not closed in good order; everything in it has reached the database", "error", err)
	}
	if err := s.opts.DropPending(); err != nil {
		s.leftover = true
		s.opts.Logger.WarnContext(ctx, "the journal was not removed; it is marked as done and tried again", "error", err)
	}
}

func (s *Store) dropLeftover(ctx context.Context) {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	if !s.leftover || s.Degraded() {
		return
	}
	if err := s.opts.DropPending(); err == nil {
		s.leftover = false
		s.opts.Logger.InfoContext(ctx, "the journal was removed")
	}
}
