package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"berth/internal/session"
)

const (
	// healers is how many sessions are restarted at once without anybody's request: an engine that comes back with all of
	// them down must not be overrun.
	healers = 4
	// longestDelay bounds the doubling of the delay before a restart.
	longestDelay = 5 * time.Minute
)

// delay is how long to wait before the n-th restart in a row: doubled each time, and never the same for two sessions.
func (o HealthOptions) delay(n int) time.Duration {
	d := min(o.RestartDelay<<min(n-1, 10), longestDelay)
	return d + rand.N(d/5+1) //nolint:gosec // not a secret
}

// settle does what is decided about a session that has ended or does not work. Someone who works on the session already is
// left alone. The caller must not hold the session's place.
func (m *Manager) settle(ctx context.Context, id session.ID, seen Situation) error {
	at, err := m.reserve(id, opReconcile)
	if err != nil {
		return nil //nolint:nilerr // somebody works on it, or the process is stopping
	}
	return m.settleIn(ctx, at.Work, seen)
}

// settleIn is settle for who holds the session's place, which is given up unless work is begun.
func (m *Manager) settleIn(ctx context.Context, w *Work, seen Situation) error {
	epoch := m.monitor.epochOfEvents()
	s, verdict, err := m.recordSettled(ctx, w.id, seen)
	if err != nil || s.Operation == nil {
		m.release(w)
	}
	if err != nil {
		return ignoreNotFound(err)
	}
	why := seen.Ended
	switch verdict {
	case Restart:
		if m.charge(s.ID, epoch) {
			defer func() { m.report(ctx, s.ID, m.refund(ctx, s.ID)) }()
		}
		w.automatic, w.handover = true, s.Operation.Deadline.Add(-m.rules.allowance(session.OpRestart)).Sub(m.now())
		m.opts.Logger.WarnContext(ctx, "session is being restarted", "session_id", s.ID, "reason", s.LastError, "restart", s.RestartCount,
			"of", m.rules.MaxRestarts, "after", w.handover)
		m.notify(ctx, s, session.EventUnhealthy, causeOf(why), s.LastError)
	case BringBack:
		if s.Operation == nil {
			return nil
		}
		w.automatic, w.handover = true, rand.N(startSpread) //nolint:gosec // not a secret
		m.opts.Logger.InfoContext(ctx, "session was ended by the engine and is started again", "session_id", s.ID)
	case Fail:
		if m.rules.Restarts {
			m.opts.Logger.ErrorContext(ctx, "session has failed for good", "session_id", s.ID, "reason", why.Failure.Message, "restarts", s.RestartCount)
			m.notify(ctx, s, session.EventFailed, why.Cause, s.LastError)
		}
		return nil
	default:
		return nil
	}
	m.launch(ctx, w, s)
	return nil
}

func causeOf(why *Ending) Cause {
	if why == nil { // a restart that was cut short goes on
		return CauseStart
	}
	return why.Cause
}

// recordSettled writes what is decided, if that is anything that is recorded before it is done.
func (m *Manager) recordSettled(ctx context.Context, id session.ID, seen Situation) (session.Session, Verdict, error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	for {
		s, err := m.store.Get(ctx, id)
		if err != nil {
			return session.Session{}, "", err
		}
		seen.Holder = m.holder(s)
		d := m.rules.Decide(s, seen, Command{}, m.now())
		max := session.Unlimited
		switch d.Verdict {
		case Restart:
			max = m.maxSessions()
		case Fail, BringBack:
		default: // somebody was quicker
			return session.Session{}, Keep, nil
		}
		if !s.Status.CanBecome(d.Next.Status) {
			return session.Session{}, "", fmt.Errorf("session %s cannot move from %s to %s", id, s.Status, d.Next.Status)
		}
		if d.Verdict != Restart {
			m.locate(id, "")
		}
		mark := m.published.mark()
		s, err = m.store.Update(ctx, d.Next, max)
		if session.CodeOf(err) == session.CodeConflict { // changed meanwhile
			continue
		}
		if err == nil {
			m.publishSince(mark, s)
		}
		return s, d.Verdict, err
	}
}

// restartAgain goes on after a restart of Berth's own that has failed. When the engine is away it does not: the restart is
// still recorded, and the comparison after the engine's return takes it up.
func (m *Manager) restartAgain(ctx context.Context, w *Work) {
	switch session.CodeOf(w.err) {
	case "", session.CodeCanceled, session.CodeEngineUnavailable, session.CodeStoreUnavailable, session.CodeShuttingDown:
		return
	}
	why := Ending{Cause: CauseStart, Failure: session.Errorf(session.CodeOf(w.err), "%s", session.MessageOf(w.err))}
	m.report(ctx, w.id, m.settle(ctx, w.id, Situation{Container: Down, Ended: &why}))
}
