package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"berth/internal/session"
)

// monitor checks the servers of sessions at intervals and receives the engine's events. It decides nothing: it reports failures to
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

	reconcile func(context.Context, session.ID) error // of one session
	due       *worklist                               // sessions to check now
	redial    signal                                  // the engine answers again: connect now
}

const (
	// maxConcurrentChecks is how many sessions are checked at once. A check of a healthy server takes milliseconds.
	maxConcurrentChecks = 16
	// Delays before the event stream is connected again.
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

// watchHealth checks sessions at intervals, and at once after an event of the engine, until ctx ends.
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

// watchEngine receives the engine's events, and reconnects until ctx ends. Events in between are lost, so that each connection is
// followed by a reconciliation.
func (m *monitor) watchEngine(ctx context.Context) {
	wait := firstRedial
	for ctx.Err() == nil {
		connected := false
		err := m.runtime.Watch(ctx, func() {
			connected, wait = true, firstRedial
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
				if m.deferred.contains(e.Session) { // the container of a deferred session was started
					m.soon.raise()
				}
			case session.ActionCreated:
			}
		})
		if ctx.Err() != nil {
			return
		}
		m.engineDisconnected(ctx, connected)
		m.opts.Logger.WarnContext(ctx, "engine event stream disconnected; reconnecting", "error", err, "after", wait)
		select {
		case <-time.After(wait):
		case <-m.redial:
		case <-ctx.Done():
		}
		wait = min(2*wait, lastRedial)
	}
}

// check probes a session's server, inspects its container if the probe fails, and handles the result.
func (m *monitor) check(ctx context.Context, id session.ID) {
	target, name := m.health.probeTarget(id)
	unavailable := m.health.isEngineUnreachable()
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
	if err == nil && unavailable { // HEALTHY also requires the engine's confirmation that the container runs
		m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unknown, Latency: latency, Reason: "its server answers, but the engine is unavailable"})
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
	if missing == nil && unavailable {
		m.redial.raise()
	}
	switch {
	case ctx.Err() != nil || m.locks.isWorking(id):
	case missing != nil && session.CodeOf(missing) != session.CodeNotFound:
		m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unknown, Reason: "the engine is unavailable"})
	case missing != nil || c.State != session.StateRunning && c.State != session.StatePaused, c.State == session.StateRunning && c.Address != target.Address:
		m.reports.logFailure(ctx, id, m.reconcile(ctx, id)) // its state or address has changed
	case c.State == session.StatePaused:
		m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unhealthy, Reason: "its container is paused; unpause it, or restart the session"})
	default:
		cause, reason := CauseSilent, "its server does not answer"
		switch {
		case m.health.ranOutOfMemory(id):
			cause, reason = CauseMemory, "its server does not answer since the session ran out of memory"
		case errors.Is(err, session.ErrUnresponsive):
			cause, reason = CauseHangs, "its server hangs: it reports that it is healthy and does no work"
		}
		m.opts.Logger.DebugContext(ctx, "health check failed", "session_id", id, "error", err)
		if m.handleProblem(ctx, id, target, Check{At: m.opts.now(), State: Unhealthy, Reason: reason}) {
			m.reports.logFailure(ctx, id, m.queue.handleFailure(ctx, id, Observation{Container: Up, Server: NotWorking, Diagnosis: &Diagnosis{
				Cause: cause, Failure: session.Errorf(session.CodeUpstream, "%s", reason),
			}}))
		}
	}
}

// checkSoon queues a session for a check now.
func (m *monitor) checkSoon(id session.ID) {
	if target, _ := m.health.probeTarget(id); target.Address != "" && m.opts.Peers.Mine(id) {
		m.due.add(id)
	}
}

// handleSuccess records a successful check. After a healthy period, earlier restarts no longer count.
func (m *monitor) handleSuccess(ctx context.Context, id session.ID, target session.Target, latency time.Duration) {
	recovered, forgive := m.health.noteSuccess(id, target, latency)
	if recovered {
		m.opts.Logger.InfoContext(ctx, "session recovered", "session_id", id)
	}
	if forgive {
		m.reports.logFailure(ctx, id, m.records.changeIf(ctx, id, session.Running, func(s *session.Session) { s.RestartCount = 0 }))
	}
}

// handleProblem records a failed check. It reports whether the server is to be restarted now.
func (m *monitor) handleProblem(ctx context.Context, id session.ID, target session.Target, c Check) (restart bool) {
	known, changed, failures := m.health.noteProblem(id, target, c)
	if !known {
		return false
	}
	if changed {
		level := slog.LevelWarn
		if c.State == Unknown {
			level = slog.LevelDebug // the outage of the engine is logged once, not for each session
		}
		m.opts.Logger.Log(ctx, level, "session is unhealthy", "session_id", id, "state", c.State, "reason", c.Reason)
	}
	return c.State == Unhealthy && failures >= m.opts.Health.Threshold
}

// engineConnected records that the engine's events are received again.
func (m *monitor) engineConnected(ctx context.Context) {
	refunds := m.health.connected()
	m.retries.engineReturned()
	for _, id := range refunds {
		m.reports.logFailure(ctx, id, m.queue.refund(ctx, id))
	}
	m.soon.raise()
}

// engineDisconnected records that the event stream has ended or could not be opened.
func (m *monitor) engineDisconnected(ctx context.Context, wasOpen bool) {
	answers := false
	if !wasOpen { // the engine is unavailable, or does not serve events
		ask, cancel := context.WithTimeout(ctx, min(m.opts.Health.Timeout, eventlessPingTimeout))
		answers = m.runtime.Ping(ask) == nil
		cancel()
	}
	m.health.disconnected(wasOpen, answers)
}
