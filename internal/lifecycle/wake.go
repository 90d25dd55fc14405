package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// StopOversized stops a session that runs and keeps more on the engine's disk than it may. It waits for that. A session that
// somebody works on is left alone.
func (m *Manager) StopOversized(ctx context.Context, id session.ID) error {
	w, err := m.queue.obey(ctx, id, Command{Kind: session.OpStop, Reason: session.StopSize})
	if code := session.CodeOf(err); code == session.CodeConflict || code == session.CodeInProgress || code == session.CodeNotFound {
		return nil
	} else if err != nil {
		return err
	}
	m.opts.Logger.InfoContext(ctx, "session is being stopped", "session_id", id, "reason", session.StopSize)
	_, err = w.Wait(ctx)
	return err
}

// IdleDeadline is until when a session stays up, and why.
type IdleDeadline struct {
	Until time.Time // it is stopped then, unless it is used; zero: it stays
	Busy  bool      // its server is at work, so that it stays up although nobody uses it
}

// IdleDeadline tells of a session that runs. Of another it is the zero Stay.
func (m *Manager) IdleDeadline(s session.Session) IdleDeadline {
	if s.Status != session.Running {
		return IdleDeadline{}
	}
	stay := IdleDeadline{Busy: m.idle.isKept(s.ID), Until: s.ExpiresAt}
	if m.opts.IdleTimeout > 0 {
		unused := s.LastAccessed.Add(m.opts.IdleTimeout)
		if stay.Busy {
			unused = unused.Add(m.opts.MaxBusy)
		}
		if stay.Until.IsZero() || unused.Before(stay.Until) {
			stay.Until = unused
		}
	}
	return stay
}

// Wake brings up a session that was stopped because nobody used it or by the engine, and waits until it can be used or
// ctx ends; the start goes on then. One that somebody has stopped stays so, which is a CodeNotRunning error. It is admitted
// as a create is: a CodeLimit or CodePressure error means that there is no room.
func (m *Manager) Wake(ctx context.Context, id session.ID) error {
	for {
		s, err := m.store.Get(ctx, id)
		switch {
		case err != nil:
			return err
		case s.Status == session.Running && s.Operation == nil:
			return nil
		case !wakes(s):
			return session.Errorf(session.CodeNotRunning, "the session has been stopped")
		}
		w, err := m.queue.obey(ctx, id, Command{Kind: session.OpStart, Wake: true})
		if err == nil {
			_, err = w.Wait(ctx)
			return err
		}
		if session.CodeOf(err) != session.CodeInProgress || pause(ctx, wakePause) != nil { // somebody else is waking it
			return err
		}
	}
}

// wakePause is how often a session is looked at that somebody else is waking.
const wakePause = 50 * time.Millisecond
