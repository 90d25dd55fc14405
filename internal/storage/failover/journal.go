package failover

import (
	"context"

	"berth/internal/session"
)

// openJournal opens the journal of an earlier process and makes it the active store, if it is live.
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

// newJournal creates a journal with these sessions. The copy, which is its base, has them already.
func (s *Store) newJournal(ctx context.Context, sessions []session.Session) (Local, error) {
	journal, err := s.opts.Pending(sessions)
	if err != nil || !s.leftover {
		return journal, err
	}
	// The opened journal is the retired one. With this write it is live again.
	if err := s.write(ctx, journal.Replace, sessions); err != nil {
		_ = journal.Close() // it is unchanged
		return nil, err
	}
	s.leftover = false
	return journal, nil
}

// retire retires the journal after its replay. It is marked in one durable step before anything newer is written, so that it
// is not replayed again if it cannot be removed or this process exits. The copy is updated first: after the mark, a process
// that starts without the primary uses it.
func (s *Store) retire(ctx context.Context, sessions []session.Session) error {
	s.base = session.ByID(sessions)
	s.edits.Add(1)
	if err := s.write(ctx, s.opts.Copy.Replace, sessions); err != nil {
		return err
	}
	if err := s.write(ctx, s.pending.Retire, sessions); err != nil && !s.pending.Retired() { // a late failure of the disk may have left the mark
		return err
	}
	s.drop(ctx, s.pending)
	return nil
}

// drop closes and removes a retired journal. [Store.Run] retries a failed removal. The caller holds s.switchMu, or is
// [Open].
func (s *Store) drop(ctx context.Context, journal Local) {
	if err := journal.Close(); err != nil {
		s.opts.Logger.WarnContext(ctx, "closing the journal failed; all of its changes have reached the database", "error", err)
	}
	if err := s.opts.DropPending(); err != nil {
		s.leftover = true
		s.opts.Logger.WarnContext(ctx, "removing the replayed journal failed, retrying", "error", err)
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
		s.opts.Logger.InfoContext(ctx, "replayed journal removed")
	}
}
