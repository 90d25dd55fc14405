package failover

import (
	"context"
	"time"

	"berth/internal/session"
)

// failOver switches to the local store after a failed call of the primary. It returns false if the primary answers a ping: then
// only the call has failed.
func (s *Store) failOver(ctx context.Context, cause error) bool {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	if s.Degraded() {
		return true
	}
	ctx = context.WithoutCancel(ctx)
	if s.ping(ctx) == nil {
		return false
	}
	if err := s.degrade(ctx, cause); err != nil {
		s.opts.Logger.ErrorContext(ctx, "the database cannot be reached, and failing over to the local store failed", "error", err)
		return false
	}
	return true
}

// degrade makes the local store the active one. The known sessions of the primary become the base first, which the replay
// compares with.
func (s *Store) degrade(ctx context.Context, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.copyKnown(ctx)
	if err != nil {
		return err
	}
	pending, err := s.newJournal(ctx, all)
	if err != nil {
		return err
	}
	s.pending, s.base = pending, session.ByID(all)
	s.edits.Add(1)
	s.since, s.reason = time.Now().UTC(), session.MessageOf(cause)
	s.opts.Logger.ErrorContext(ctx, "the database cannot be reached; changes are journalled until it has recovered", "error", cause, "sessions", len(all))
	return nil
}

// failBack tries to switch back to the primary.
func (s *Store) failBack(ctx context.Context) {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	err := s.ping(ctx)
	if err == nil {
		err = s.replay(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	changed := s.reason != session.MessageOf(err)
	s.reason = session.MessageOf(err)
	s.mu.Unlock()
	if changed {
		s.opts.Logger.WarnContext(ctx, "the database is still unavailable", "error", err)
	}
}

// reload reads all sessions of the primary.
func (s *Store) reload(ctx context.Context) error {
	mark := s.known.mark()
	page, err := s.primary.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	s.known.listed(mark, page.Sessions)
	return nil
}
