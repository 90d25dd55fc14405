package lifecycle

import (
	"context"
	"math/rand/v2"
	"time"

	"berth/internal/session"
)

const (
	// healers is how many sessions are restarted at once by nobody's wish: an engine that comes back with all of them
	// down must not be overrun.
	healers = 4
	// longestDelay bounds the doubling of the delay before a restart.
	longestDelay = 5 * time.Minute
)

// heal restarts a session that has failed, after a delay, unless it has been restarted too often: then it is in error
// until somebody restarts it. Someone who works on the session already is left alone. The caller must not hold the
// session's place.
func (m *Manager) heal(ctx context.Context, id session.ID, why *ailment) error {
	if why.cause == CauseEngine {
		return m.bringBack(ctx, id, why.Message)
	}
	if !m.opts.Health.heals() {
		return nil
	}
	w, _, err := m.reserve(id, session.OpRestart)
	if err != nil {
		return nil //nolint:nilerr // somebody works on it, or the process is stopping
	}
	s, restart, err := m.recordHealing(ctx, id, why, w)
	if err != nil || !restart {
		m.release(w)
		return err
	}
	w.automatic = true
	m.charge(id)
	m.opts.Logger.WarnContext(ctx, "session is being restarted", "session_id", id, "reason", why.Message, "restart", s.RestartCount,
		"of", m.opts.Health.MaxRestarts, "after", w.handover)
	m.notify(s, session.Ailing, why.cause, why.Message)
	m.launch(ctx, w, s)
	return nil
}

// recordHealing writes what is about to be done, or that nothing is.
func (m *Manager) recordHealing(ctx context.Context, id session.ID, why *ailment, w *Work) (_ session.Session, restart bool, err error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	for {
		s, err := m.store.Get(ctx, id)
		if err != nil {
			return session.Session{}, false, ignoreNotFound(err)
		}
		if s.Operation != nil || s.Status != session.Running && (s.Status != session.Error || s.RestartCount == 0 && s.StopReason != session.StopEngine) {
			return session.Session{}, false, nil // somebody was quicker
		}
		s = s.Clone()
		s.Status, s.Port, s.StopReason = session.Error, 0, ""
		if restart = s.RestartCount < m.opts.Health.MaxRestarts; restart {
			s.RestartCount++
			w.handover = m.delay(s.RestartCount)
			s.LastError = why.Message
			m.mark(ctx, &s, session.Ailing, why.Message)
			s.Operation = m.operation(session.OpRestart)
			s.Operation.Deadline = s.Operation.Deadline.Add(w.handover)
		} else {
			s.LastError = session.Errorf(why.Code, "%s; it was restarted %d times and is given up: look at its logs, then restart it",
				why.Message, s.RestartCount).Message
			m.mark(ctx, &s, session.Broken, s.LastError)
		}
		updated, err := m.store.Update(ctx, s, m.maxSessions())
		switch {
		case session.CodeOf(err) == session.CodeConflict: // changed meanwhile
		case err != nil:
			return session.Session{}, false, err
		case restart:
			return updated, true, nil
		default:
			m.locate(id, "")
			m.publish(updated)
			m.opts.Logger.ErrorContext(ctx, "session has failed for good", "session_id", id, "reason", why.Message, "restarts", s.RestartCount)
			m.notify(updated, session.Broken, why.cause, updated.LastError)
			return updated, false, nil
		}
	}
}

// healing reports whether a session in error is one that was being restarted when that failed or was cut short, and may
// be restarted again.
func (m *Manager) healing(s session.Session) bool {
	return m.opts.Health.heals() && s.Status == session.Error && s.Operation == nil && (s.RestartCount > 0 || s.StopReason == session.StopEngine) &&
		s.RestartCount < m.opts.Health.MaxRestarts
}

// delay is how long to wait before the n-th restart in a row: doubled each time, and never the same for two sessions.
func (m *Manager) delay(n int) time.Duration {
	d := min(m.opts.Health.RestartDelay<<min(n-1, 10), longestDelay)
	return d + rand.N(d/5+1) //nolint:gosec // not a secret
}

// healFurther goes on after a restart of ours that has failed. When the engine is away it does not: the restart is still
// recorded, and the comparison after the engine's return takes it up.
func (m *Manager) healFurther(ctx context.Context, w *Work) {
	switch session.CodeOf(w.err) {
	case "", session.CodeCanceled, session.CodeEngineUnavailable, session.CodeStoreUnavailable, session.CodeShuttingDown:
		return
	}
	why := ails(CauseStart, session.Errorf(session.CodeOf(w.err), "%s", session.MessageOf(w.err)))
	if err := m.heal(ctx, w.id, why); err != nil {
		m.report(ctx, w.id, err)
	}
}
