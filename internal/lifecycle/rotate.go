package lifecycle

import (
	"context"
	"errors"
	"time"

	"berth/internal/session"
)

// MaxGrace is the longest time for which a replaced token can still be accepted.
const MaxGrace = 10 * time.Minute

// Rotate replaces the session's token by the one with this digest. The replaced token is accepted during the grace, but not beyond
// its expiry; earlier tokens are rejected at once. A grace that is negative or longer than [MaxGrace] is a CodeInvalid error.
func (m *Manager) Rotate(ctx context.Context, id session.ID, digest string, grace time.Duration) (session.Session, error) {
	s, err := m.rotate(ctx, id, digest, grace)
	did := OperationResult{Operation: OpRotateToken, Session: id}
	if err != nil {
		return session.Session{}, m.reports.reportRefusal(ctx, did, err)
	}
	m.reports.reportResult(ctx, did)
	return s, nil
}

func (m *Manager) rotate(ctx context.Context, id session.ID, digest string, grace time.Duration) (session.Session, error) {
	if grace < 0 || grace > MaxGrace {
		return session.Session{}, session.Errorf(session.CodeInvalid, "the grace of a replaced token is between 0s and %s, not %s", MaxGrace, grace)
	}
	s, err := m.records.change(ctx, id, func(s *session.Session) error {
		s.Token = s.Token.Replaced(digest, m.opts.now(), m.opts.TokenLife, grace)
		s.Links, s.SignIns = nil, nil
		m.reports.appendEvent(ctx, s, session.EventRotated, "")
		return nil
	})
	if err != nil {
		return session.Session{}, err
	}
	m.opts.Logger.InfoContext(ctx, "session token rotated", "session_id", id, "operation", "rotate_token", "grace", grace.String())
	return s, nil
}

// sweepTokens removes the digests of tokens that are no longer valid, at once and then at intervals, until ctx ends.
func (m *Manager) sweepTokens(ctx context.Context) {
	every := time.NewTicker(m.opts.SweepEvery)
	defer every.Stop()
	for {
		ctx := m.opts.Tracer.Start(ctx)
		if _, err := m.SweepTokens(ctx); err != nil && ctx.Err() == nil {
			m.opts.Logger.WarnContext(ctx, "expired tokens not swept, but rejected; the next sweep retries", "error", err)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// errNothingToSweep ends a change that has nothing to change.
var errNothingToSweep = errors.New("nothing to sweep")

// SweepTokens removes the digests of expired tokens and of replaced tokens after their grace, of the sessions of this process, and
// returns their number. The expiry dates are kept. If two processes sweep the same session, its tokens are counted once.
func (m *Manager) SweepTokens(ctx context.Context) (int, error) {
	page, err := m.store.List(ctx, session.Query{})
	if err != nil {
		return 0, err
	}
	swept := 0
	var faults []error
	for _, s := range page.Sessions {
		if ctx.Err() != nil {
			break
		}
		_, n := s.Token.Swept(m.opts.now())
		if n == 0 || !m.opts.Peers.Mine(s.ID) {
			continue
		}
		_, err := m.records.change(ctx, s.ID, func(s *session.Session) error {
			if s.Token, n = s.Token.Swept(m.opts.now()); n == 0 {
				return errNothingToSweep
			}
			return nil
		})
		switch {
		case err == nil:
			swept += n
		case !errors.Is(err, errNothingToSweep) && session.CodeOf(err) != session.CodeNotFound:
			faults = append(faults, err)
		}
	}
	if swept > 0 {
		m.opts.Logger.InfoContext(ctx, "expired tokens swept", "operation", "sweep_tokens", "tokens", swept)
		m.reports.reportResult(ctx, OperationResult{Operation: OpSweepTokens})
		m.reports.emit(ctx, Report{Swept: swept})
	}
	return swept, errors.Join(faults...)
}
