package lifecycle

import (
	"context"
	"maps"
	"slices"
	"time"

	"berth/internal/session"
)

// What another process was asked to do may be recorded where this one cannot read it: either has lost the shared store.
// Then a container that was ended or removed through the engine's API, or one that runs although its session is stopped,
// looks like an accident and may be somebody's wish. Such a session is left as it is until everybody has been heard.

// waitingSince returns since when a session waits for other processes to be known again; now, if it does not.
func (m *Manager) waitingSince(id session.ID) (noticed time.Time, waiting bool) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	if noticed, waiting = m.monitor.unheard[id]; !waiting {
		noticed = time.Now()
	}
	return noticed, waiting
}

// awaitOthers leaves a session whose container was ended or removed through the engine as it is.
func (m *Manager) awaitOthers(ctx context.Context, s session.Session, noticed time.Time, waiting bool) {
	m.monitor.mu.Lock()
	m.monitor.unheard[s.ID] = noticed
	m.monitor.mu.Unlock()
	m.locate(s.ID, "")
	m.publish(s)
	if !waiting {
		m.opts.Logger.WarnContext(ctx, "session lost its container and is left alone: that may be the work of an instance that cannot be heard",
			"session_id", s.ID)
	}
}

// heard reports whether a session is left alone for a reason that has ended.
func (m *Manager) heard() bool {
	m.monitor.mu.Lock()
	all := slices.Collect(maps.Values(m.monitor.unheard))
	m.monitor.mu.Unlock()
	return slices.ContainsFunc(all, func(noticed time.Time) bool { return !m.opts.Peers.Unreachable(noticed) })
}

// startedAgain has a session looked at that is left alone and whose container somebody has started.
func (m *Manager) startedAgain(id session.ID) {
	m.monitor.mu.Lock()
	_, left := m.monitor.unheard[id]
	m.monitor.mu.Unlock()
	if left {
		m.reconcileSoon()
	}
}

// forgetUnheard says that a session's container runs, or that the record says why it does not.
func (m *Manager) forgetUnheard(id session.ID) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	delete(m.monitor.unheard, id)
}
