package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// idle is what is known of sessions that nobody uses.
type idle struct {
	queue queue // sessions to stop, unless their servers are at work

	mu   sync.Mutex
	busy map[session.ID]bool // unused sessions that were found at work
}

// stoppers is how many sessions are looked at and stopped at once for want of use.
const stoppers = 4

// dismissIdle has a session stopped that this process looks after and whose time is over.
func (m *Manager) dismissIdle(s session.Session) {
	if s.Operation == nil && m.rules.overdue(s, m.now()) != "" && m.opts.Peers.Mine(s.ID) {
		m.idle.queue.add(s.ID)
		return
	}
	m.keep(s.ID, false)
}

// keep notes whether an unused session is kept up because its server is at work.
func (m *Manager) keep(id session.ID, busy bool) {
	m.idle.mu.Lock()
	defer m.idle.mu.Unlock()
	if busy {
		m.idle.busy[id] = true
	} else {
		delete(m.idle.busy, id)
	}
}

// stopIdle stops the sessions in the queue until ctx ends.
func (m *Manager) stopIdle(ctx context.Context) {
	m.idle.queue.each(ctx, stoppers, func(id session.ID) {
		ctx := m.opts.Background(ctx)
		if err := m.stopUnused(ctx, id); err != nil && ctx.Err() == nil {
			m.opts.Logger.WarnContext(ctx, "session whose time is over not stopped; the next reconciliation tries again",
				"session_id", id, "error", err)
		}
	})
}

// stopUnused stops a session whose time is over, if it still is.
func (m *Manager) stopUnused(ctx context.Context, id session.ID) error {
	if err := m.flush(ctx); err != nil { // activity of this very second
		return err
	}
	s, err := m.store.Get(ctx, id)
	if err != nil {
		return ignoreNotFound(err)
	}
	why := m.rules.overdue(s, m.now())
	if why == "" || s.Operation != nil {
		return nil
	}
	if why == session.StopIdle && m.isBusy(ctx, s) {
		m.keep(id, true)
		return nil
	}
	w, err := m.obey(ctx, id, Command{Kind: session.OpStop, Reason: why})
	if code := session.CodeOf(err); code == session.CodeConflict || code == session.CodeInProgress || code == session.CodeNotFound {
		return nil // somebody was quicker
	} else if err != nil {
		return err
	}
	m.opts.Logger.InfoContext(ctx, "session is being stopped", "session_id", id, "reason", why, "last_accessed", s.LastAccessed)
	_, err = w.Wait(ctx)
	return err
}

// StopOversized stops a session that runs and keeps more on the engine's disk than it may. It waits for that. A session that
// somebody works on is left alone.
func (m *Manager) StopOversized(ctx context.Context, id session.ID) error {
	w, err := m.obey(ctx, id, Command{Kind: session.OpStop, Reason: session.StopSize})
	if code := session.CodeOf(err); code == session.CodeConflict || code == session.CodeInProgress || code == session.CodeNotFound {
		return nil
	} else if err != nil {
		return err
	}
	m.opts.Logger.InfoContext(ctx, "session is being stopped", "session_id", id, "reason", session.StopSize)
	_, err = w.Wait(ctx)
	return err
}

// isBusy reports whether an unused session's server is at work. Work without an end does not count for ever, and a server
// that does not say is given the benefit of the doubt for as long.
func (m *Manager) isBusy(ctx context.Context, s session.Session) bool {
	address := m.addressOf(s.ID)
	if address == "" || len(m.profileOf(s).Busy) == 0 || m.now().Sub(s.LastAccessed) >= m.opts.IdleTimeout+m.opts.MaxBusy {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, m.opts.Health.Timeout)
	defer cancel()
	busy, err := m.prober.Busy(ctx, session.Target{Address: address, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s)})
	return busy || err != nil
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
	m.idle.mu.Lock()
	stay := IdleDeadline{Busy: m.idle.busy[s.ID], Until: s.ExpiresAt}
	m.idle.mu.Unlock()
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
		w, err := m.obey(ctx, id, Command{Kind: session.OpStart, Wake: true})
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
