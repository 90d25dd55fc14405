package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"berth/internal/session"
)

// monitor asks sessions' servers in their turn and follows the engine's events. It decides nothing: what it finds is reported to
// the queue, or has the session reconciled.
type monitor struct {
	runtime  session.Runtime
	prober   session.Prober
	opts     Options
	reports  *reporter
	health   *healthRecords
	records  *recorder
	locks    *sessionLocks
	queue    *queue
	retries  *retries
	deferred *deferredSessions
	soon     signal

	reconcile func(context.Context, session.ID) error // makes a record and its container agree
	due       *worklist                               // sessions to look at now
	redial    signal                                  // the engine answers again, so that its events are not to be waited for
}

const (
	// checkers is how many sessions are looked at at once. A look takes milliseconds where all is well.
	maxConcurrentChecks = 16
	// redials of the engine's events.
	firstRedial, lastRedial = 100 * time.Millisecond, 5 * time.Second
)

func newMonitor(runtime session.Runtime, prober session.Prober, opts Options, reports *reporter, health *healthRecords, records *recorder, work *sessionLocks,
	commands *queue, tries *retries, left *deferredSessions, soon signal, reconcile func(context.Context, session.ID) error,
) *monitor {
	return &monitor{
		runtime: runtime, prober: prober, opts: opts, reports: reports, health: health, records: records, locks: work, queue: commands,
		retries: tries, deferred: left, soon: soon, reconcile: reconcile, due: newWorklist(), redial: newSignal(),
	}
}

// watchHealth looks at sessions in their turn, and at once when the engine tells of them, until ctx ends.
func (m *monitor) watchHealth(ctx context.Context) {
	if m.opts.Health.CheckEvery <= 0 {
		return
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { m.watchEngine(ctx) })
	workers.Go(func() {
		m.due.each(ctx, maxConcurrentChecks, func(id session.ID) { m.check(m.opts.Tracer.Start(ctx), id) })
	})
	tick := time.NewTicker(min(time.Second, m.opts.Health.CheckEvery/4))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, id := range m.health.takeDue() {
				m.checkSoon(id)
			}
		case <-ctx.Done():
			return
		}
	}
}

// watchEngine follows the engine's events, and connects again for as long as ctx lasts. What happened meanwhile nobody
// tells: records and containers are compared after each connection.
func (m *monitor) watchEngine(ctx context.Context) {
	wait := firstRedial
	for ctx.Err() == nil {
		heard := false
		err := m.runtime.Watch(ctx, func() {
			heard, wait = true, firstRedial
			m.engineConnected(ctx)
		}, func(e session.RuntimeEvent) {
			switch e.Action {
			case session.ActionOutOfMemory:
				m.health.noteOutOfMemory(e.Session)
			case session.ActionSignalled:
				m.health.noteExitEvent(e)
			case session.ActionEnded, session.ActionRemoved:
				m.health.noteExitEvent(e)
				m.checkSoon(e.Session)
			case session.ActionStarted:
				if m.deferred.contains(e.Session) { // somebody has started what was left alone
					m.soon.raise()
				}
			case session.ActionCreated:
			}
		})
		if ctx.Err() != nil {
			return
		}
		m.engineDisconnected(ctx, heard)
		m.opts.Logger.WarnContext(ctx, "the engine's events are not heard; connecting again", "error", err, "after", wait)
		select {
		case <-time.After(wait):
		case <-m.redial:
		case <-ctx.Done():
		}
		wait = min(2*wait, lastRedial)
	}
}

// look asks a session's server, and where it does not answer the engine, and acts on what they say.
func (m *monitor) check(ctx context.Context, id session.ID) {
	target, name := m.health.probeTarget(id)
	away := m.health.isEngineUnreachable()
	if target.Address == "" || m.locks.isWorking(id) {
		return
	}
	stream, begun := m.health.stream(), time.Now()
	probe, cancel := context.WithTimeout(ctx, m.opts.Health.Timeout)
	err := m.prober.Probe(probe, target)
	cancel()
	latency := time.Since(begun)
	if ctx.Err() != nil {
		return
	}
	if err == nil && away { // the first of the three levels is the engine's word
		m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unknown, Latency: latency, Reason: "its server answers, and the engine cannot be asked"})
		return
	}
	if err == nil {
		m.health.noteRunning(id, stream, begun)
		m.handleSuccess(ctx, id, target, latency)
		return
	}
	engine, cancel := context.WithTimeout(ctx, m.opts.Health.Timeout)
	c, missing := m.runtime.Inspect(engine, name)
	cancel()
	if missing == nil && away {
		m.redial.raise()
	}
	switch {
	case ctx.Err() != nil || m.locks.isWorking(id):
	case missing != nil && session.CodeOf(missing) != session.CodeNotFound:
		m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unknown, Reason: "the engine cannot be asked"})
	case missing != nil || c.State != session.StateRunning && c.State != session.StatePaused, c.State == session.StateRunning && c.Address != target.Address:
		m.reports.logFailure(ctx, id, m.reconcile(ctx, id)) // it is not where it was: mend what is recorded
	case c.State == session.StatePaused:
		m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unhealthy, Reason: "its container is paused; unpause it, or restart the session"})
	default:
		cause, reason := CauseSilent, "its server does not answer"
		switch {
		case m.health.ranOutOfMemory(id):
			cause, reason = CauseMemory, "its server does not answer since the session ran out of memory"
		case errors.Is(err, session.ErrUnresponsive):
			cause, reason = CauseHangs, "its server hangs: it says that it is well and does no work"
		}
		m.opts.Logger.DebugContext(ctx, "session is unhealthy", "session_id", id, "error", err)
		if m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unhealthy, Reason: reason}) {
			m.reports.logFailure(ctx, id, m.queue.handleFailure(ctx, id, Observation{Container: Up, Server: NotWorking, Diagnosis: &Diagnosis{
				Cause: cause, Failure: session.Errorf(session.CodeUpstream, "%s", reason),
			}}))
		}
	}
}

// suspect has a session looked at at once.
func (m *monitor) checkSoon(id session.ID) {
	if target, _ := m.health.probeTarget(id); target.Address != "" && m.opts.Peers.Mine(id) {
		m.due.add(id)
	}
}

// passed notes that all is well. After a healthy period, earlier restarts are forgotten.
func (m *monitor) handleSuccess(ctx context.Context, id session.ID, target session.Target, latency time.Duration) {
	recovered, forgive := m.health.noteSuccess(id, target, latency)
	if recovered {
		m.opts.Logger.InfoContext(ctx, "session is healthy again", "session_id", id)
	}
	if forgive {
		m.reports.logFailure(ctx, id, m.records.changeIf(ctx, id, session.Running, func(s *session.Session) { s.RestartCount = 0 }))
	}
}

// found notes that something is wrong. It reports whether that is to be mended by a restart now.
func (m *monitor) handleProblem(ctx context.Context, id session.ID, target session.Target, c Check) (restart bool) {
	known, changed, failures := m.health.noteProblem(id, target, c)
	if !known {
		return false
	}
	if changed {
		level := slog.LevelWarn
		if c.State == Unknown {
			level = slog.LevelDebug // it is the engine that is told of, once for all of them
		}
		m.opts.Logger.Log(ctx, level, "session is not healthy", "session_id", id, "state", c.State, "reason", c.Reason)
	}
	return c.State == Unhealthy && failures >= m.opts.Health.Threshold
}

// engineConnected notes that the engine's events are received again.
func (m *monitor) engineConnected(ctx context.Context) {
	refunds := m.health.connected()
	m.retries.engineReturned()
	for _, id := range refunds {
		m.reports.logFailure(ctx, id, m.queue.refund(ctx, id))
	}
	m.soon.raise()
}

// engineDisconnected notes that the event stream has ended or could not be opened.
func (m *monitor) engineDisconnected(ctx context.Context, wasOpen bool) {
	answers := false
	if !wasOpen { // it is away, or answers everything but this
		ask, cancel := context.WithTimeout(ctx, min(m.opts.Health.Timeout, eventlessPingTimeout))
		answers = m.runtime.Ping(ask) == nil
		cancel()
	}
	m.health.disconnected(wasOpen, answers)
}
