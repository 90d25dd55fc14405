package lifecycle

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"berth/internal/session"
)

const (
	// checkers is how many sessions are looked at at once. A look takes milliseconds where all is well.
	checkers = 16
	// redials of the engine's events.
	firstRedial, lastRedial = 100 * time.Millisecond, 5 * time.Second
)

// monitor is what is known of the servers of running sessions, and who is to be looked at next.
type monitor struct {
	mu      sync.Mutex
	records map[session.ID]*healthRecord
	queue   queue // sessions to look at now
	engine  engineView
	soon    chan struct{} // holds a token when records and containers are to be compared at once

	unheard map[session.ID]time.Time // sessions that are left alone, and since when; see [Manager.leaveUnheard]
}

func newMonitor() monitor {
	return monitor{
		records: map[session.ID]*healthRecord{}, queue: newQueue(), soon: make(chan struct{}, 1), engine: engineView{charged: map[session.ID]time.Time{}},
		unheard: map[session.ID]time.Time{},
	}
}

// attend tells the monitor of a session as it is recorded now, and of its route.
func (m *Manager) attend(s session.Session, r session.Route) {
	if m.opts.Health.CheckEvery <= 0 {
		return
	}
	now := m.now()
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	returns := s.Status == session.Stopped && s.StopReason == session.StopEngine && s.Operation != nil
	if s.Status == session.Stopped && !returns {
		delete(m.monitor.records, s.ID)
		return
	}
	v, known := m.monitor.records[s.ID]
	if !known {
		v = &healthRecord{health: Health{ID: s.ID, State: Unknown, Since: now}, due: now.Add(phase(s.ID, m.opts.Health.CheckEvery))}
		m.monitor.records[s.ID] = v
	}
	was := v.following
	v.following, v.container, v.health.Restarts = "", s.ContainerName, s.RestartCount
	if s.Operation != nil {
		v.following, v.starved = s.Operation.Kind, time.Time{} // its server begins anew
	}
	moved := v.target.Address != r.Address
	v.target = session.Target{}
	switch {
	case v.following == session.OpRestart && s.Operation.Automatic(s), m.rules.heals(s):
		v.turn(Restarting, s.LastError, now)
	case returns:
		v.turn(Restarting, engineEnded, now)
	case v.following != "" && !s.Operation.Pending():
	case s.Status == session.Error:
		v.turn(Failed, s.LastError, now)
	case s.Status == session.Running && r.Address != "":
		v.target = session.Target{Address: r.Address, Credential: r.Credential, Profile: r.Profile}
		switch {
		case was.BringsUp(): // which ends with a probe that passes
			v.health.Failures = 0
			v.turn(Healthy, "", now)
		case moved || v.health.State == Restarting || v.health.State == Failed:
			v.health.Failures = 0
			v.turn(Unknown, "", now)
		}
	}
}

// dropHealthRecord forgets a session that is gone.
func (m *Manager) dropHealthRecord(id session.ID) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	delete(m.monitor.records, id)
}

// phase spreads sessions over an interval, each at a place of its own.
func phase(id session.ID, interval time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return time.Duration(float64(interval) * float64(h.Sum32()) / (1 << 32))
}

// watchHealth looks at sessions in their turn, and at once when the engine tells of them, until ctx ends.
func (m *Manager) watchHealth(ctx context.Context) {
	if m.opts.Health.CheckEvery <= 0 {
		return
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { m.watchEngine(ctx) })
	workers.Go(func() {
		m.monitor.queue.each(ctx, checkers, func(id session.ID) { m.look(m.opts.Background(ctx), id) })
	})
	tick := time.NewTicker(min(time.Second, m.opts.Health.CheckEvery/4))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.enqueueDue()
		case <-ctx.Done():
			return
		}
	}
}

// enqueueDue puts the sessions into the queue whose turn it is.
func (m *Manager) enqueueDue() {
	now, every := m.now(), m.opts.Health.CheckEvery
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	for id, v := range m.monitor.records {
		switch late := now.Sub(v.due); {
		case late < -every, late > every: // the clock was set, or this machine has slept: they are not to come all at once
			v.due = now.Add(phase(id, every))
		case late >= 0:
			v.due = v.due.Add(every)
			if v.target.Address != "" && m.opts.Peers.Mine(id) {
				m.monitor.queue.add(id)
			}
		}
	}
}

// watchEngine follows the engine's events, and connects again for as long as ctx lasts. What happened meanwhile nobody
// tells: records and containers are compared after each connection.
func (m *Manager) watchEngine(ctx context.Context) {
	wait := firstRedial
	for ctx.Err() == nil {
		heard := false
		err := m.runtime.Watch(ctx, func() {
			heard, wait = true, firstRedial
			m.engineConnected(ctx)
		}, func(e session.RuntimeEvent) {
			switch e.Action {
			case session.ActionOOM:
				m.starved(e.Session)
			case session.ActionKill:
				m.noteEnd(e)
			case session.ActionDie, session.ActionDestroy:
				m.noteEnd(e)
				m.suspect(e.Session)
			case session.ActionStart:
				m.startedAgain(e.Session)
			case session.ActionCreate:
			}
		})
		if ctx.Err() != nil {
			return
		}
		m.engineDisconnected(ctx, heard)
		m.opts.Logger.WarnContext(ctx, "the engine's events are not heard; connecting again", "error", err, "after", wait)
		_ = pause(ctx, wait)
		wait = min(2*wait, lastRedial)
	}
}

func (m *Manager) reconcileSoon() {
	select {
	case m.monitor.soon <- struct{}{}:
	default:
	}
}

// suspect has a session looked at at once.
func (m *Manager) suspect(id session.ID) {
	m.monitor.mu.Lock()
	v, ok := m.monitor.records[id]
	ok = ok && v.target.Address != ""
	m.monitor.mu.Unlock()
	if ok && m.opts.Peers.Mine(id) {
		m.monitor.queue.add(id)
	}
}

// starved remembers that the kernel has killed something of a session. Whether the server was among it its end tells, a
// moment later; to ask it now would be to ask the dying, and to count that as a failure.
func (m *Manager) starved(id session.ID) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	if v, ok := m.monitor.records[id]; ok {
		v.starved = m.now()
	}
}

// hasStarved reports whether something of a session has been killed for want of memory since its server was last well.
func (m *Manager) hasStarved(id session.ID) bool {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	v, ok := m.monitor.records[id]
	return ok && !v.starved.IsZero()
}

// look asks a session's server, and where it does not answer the engine, and acts on what they say.
func (m *Manager) look(ctx context.Context, id session.ID) {
	m.monitor.mu.Lock()
	v, ok := m.monitor.records[id]
	if !ok || v.target.Address == "" {
		m.monitor.mu.Unlock()
		return
	}
	target, name, away := v.target, v.container, m.monitor.engine.refused && !m.monitor.engine.isMute()
	m.monitor.mu.Unlock()
	if m.isWorking(id) {
		return
	}
	epoch, begun := m.monitor.currentEpoch(), time.Now()
	probe, cancel := context.WithTimeout(ctx, m.opts.Health.Timeout)
	err := m.prober.Probe(probe, target)
	cancel()
	latency := time.Since(begun)
	if ctx.Err() != nil {
		return
	}
	if err == nil && away { // the first of the three levels is the engine's word
		m.found(ctx, id, target, Check{At: m.now(), State: Unknown, Latency: latency, Reason: "its server answers, and the engine cannot be asked"})
		return
	}
	if err == nil {
		m.seenUp(id, epoch, begun)
		m.passed(ctx, id, target, latency)
		return
	}
	engine, cancel := context.WithTimeout(ctx, m.opts.Health.Timeout)
	c, missing := m.runtime.Inspect(engine, name)
	cancel()
	switch {
	case ctx.Err() != nil || m.isWorking(id):
	case missing != nil && session.CodeOf(missing) != session.CodeNotFound:
		m.found(ctx, id, target, Check{At: m.now(), State: Unknown, Reason: "the engine cannot be asked"})
	case missing != nil || c.State != session.StateRunning && c.State != session.StatePaused, c.State == session.StateRunning && c.Address != target.Address:
		m.report(ctx, id, m.reconcile(ctx, id)) // it is not where it was: mend what is recorded
	case c.State == session.StatePaused:
		m.found(ctx, id, target, Check{At: m.now(), State: Unhealthy, Reason: "its container is paused; unpause it, or restart the session"})
	default:
		cause, reason := CauseSilent, "its server does not answer"
		switch {
		case m.hasStarved(id):
			cause, reason = CauseMemory, "its server does not answer since the session ran out of memory"
		case errors.Is(err, session.ErrUnresponsive):
			cause, reason = CauseHangs, "its server hangs: it says that it is well and does no work"
		}
		m.opts.Logger.DebugContext(ctx, "session is unhealthy", "session_id", id, "error", err)
		if m.found(ctx, id, target, Check{At: m.now(), State: Unhealthy, Reason: reason}) {
			m.report(ctx, id, m.settle(ctx, id, Situation{Container: Up, Server: DoesNotWork, Ended: &Ending{
				Cause: cause, Failure: session.Errorf(session.CodeUpstream, "%s", reason),
			}}))
		}
	}
}

// passed notes that all is well. After a healthy period, earlier restarts are forgotten.
func (m *Manager) passed(ctx context.Context, id session.ID, target session.Target, latency time.Duration) {
	now := m.now()
	m.monitor.mu.Lock()
	v, ok := m.monitor.records[id]
	if !ok || v.target.Address != target.Address {
		m.monitor.mu.Unlock()
		return
	}
	recovered := v.health.State == Unhealthy
	v.note(Check{At: now, State: Healthy, Latency: latency})
	v.turn(Healthy, "", now)
	if v.starved.Before(now.Add(-latency)) {
		v.starved = time.Time{}
	}
	forgive := v.health.Restarts > 0 && now.Sub(v.healthy) >= m.opts.Health.HealthyPeriod
	m.monitor.mu.Unlock()
	if recovered {
		m.opts.Logger.InfoContext(ctx, "session is healthy again", "session_id", id)
	}
	if forgive {
		m.report(ctx, id, m.changeIf(ctx, id, session.Running, func(s *session.Session) { s.RestartCount = 0 }))
	}
}

// found notes that something is wrong. It reports whether that is to be mended by a restart now.
func (m *Manager) found(ctx context.Context, id session.ID, target session.Target, c Check) (restart bool) {
	m.monitor.mu.Lock()
	v, ok := m.monitor.records[id]
	if !ok || v.target.Address != target.Address {
		m.monitor.mu.Unlock()
		return false
	}
	v.note(c)
	changed := v.turn(c.State, c.Reason, c.At)
	failures := v.health.Failures
	m.monitor.mu.Unlock()
	if changed {
		level := slog.LevelWarn
		if c.State == Unknown {
			level = slog.LevelDebug // it is the engine that is told of, once for all of them
		}
		m.opts.Logger.Log(ctx, level, "session is not healthy", "session_id", id, "state", c.State, "reason", c.Reason)
	}
	return c.State == Unhealthy && failures >= m.opts.Health.Threshold
}
