package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/internal/session"
)

// An engine that stops ends its containers, and so does one that comes back after a crash. None of that is the fault of a
// session's server: it costs no restart and no delay. What ended a container is told by what this process has seen: an end
// counts against the server only if the engine's events were received from when the container last ran until its end, and
// the engine accepts connections still.

const (
	// eventTime is how long after a container's end the engine's event of it may still arrive.
	eventTime = time.Second
	// shutdownTime is how long an engine that is stopping may go on sending events of the containers that it ends.
	shutdownTime = 30 * time.Second
	// muteTime is how long an engine that gives no events has to answer a ping.
	muteTime = 2 * time.Second
	// startSpread bounds the time within which the sessions of an engine that has returned are started.
	startSpread = time.Second
)

// engineEnded is why a session stops that the engine has ended.
const engineEnded = "the engine was stopped or restarted"

// unseenEnd is why a session stops whose end nobody has seen, and whose exit code is that of a server that was asked to end.
func unseenEnd(code int) string {
	return fmt.Sprintf("stopped while Berth was not running or had no connection to the engine: by the engine, or by hand (exit code %d)", code)
}

// engineView is what is known of the engine. Guarded by monitor.mu.
type engineView struct {
	epoch     int  // counts connections of the event stream; 0: there was none yet
	connected bool // the stream of this epoch is open
	refused   bool // the engine could not be connected to when that was tried last
	answers   int  // how often in a row it has answered and not given its events when they were asked for, whatever is in the way of them
	outages   int  // counts the begins and ends of times without the events; odd: it is such a time. The time before the first connection is none

	charged map[session.ID]time.Time // when a restart was last counted, to take it back if the engine turns out to be stopping
	refunds []session.ID             // sessions whose last restart does not count
}

// currentEpoch identifies the open event stream; 0: none is open.
func (m *monitor) currentEpoch() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.engine.connected {
		return 0
	}
	return m.engine.epoch
}

// outages tells times apart between which the event stream has ended or returned. Odd: the engine is away.
func (m *monitor) outages() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine.outages
}

// isMute reports whether the engine answers and gives no events. Once may be the moment in which it comes back.
func (e *engineView) isMute() bool { return e.answers > 1 }

// isMute reports whether the engine gives no events although it answers: that they are missing says nothing about it then.
func (m *monitor) isMute() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine.isMute()
}

// engineConnected notes that the engine's events are received again.
func (m *Manager) engineConnected(ctx context.Context) {
	m.monitor.mu.Lock()
	e := &m.monitor.engine
	e.epoch++
	e.connected, e.refused, e.answers = true, false, 0
	e.outages += e.outages % 2
	refunds := e.refunds
	e.refunds = nil
	m.monitor.mu.Unlock()
	m.retries.engineReturned()
	for _, id := range refunds {
		m.report(ctx, id, m.refund(ctx, id))
	}
	m.reconcileSoon()
}

// engineDisconnected notes that the event stream has ended or could not be opened.
func (m *Manager) engineDisconnected(ctx context.Context, wasOpen bool) {
	answers := false
	if !wasOpen { // it is away, or answers everything but this
		ask, cancel := context.WithTimeout(ctx, min(m.opts.Health.Timeout, muteTime))
		answers = m.runtime.Ping(ask) == nil
		cancel()
	}
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	e := &m.monitor.engine
	e.connected, e.refused = false, !wasOpen
	if e.answers++; !answers {
		e.answers = 0
	}
	e.outages += 1 - e.outages%2
	now := m.now()
	for id, at := range e.charged {
		if now.Sub(at) <= shutdownTime {
			e.refunds = append(e.refunds, id)
		}
	}
	clear(e.charged)
	for _, v := range m.monitor.records {
		v.tellChange()
	}
}

// charge notes that a restart of a session was counted, which was decided with the event stream of this epoch. If that has
// ended since, the engine was stopping, and it reports that the restart does not count.
func (m *Manager) charge(id session.ID, epoch int) (refunded bool) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	e := &m.monitor.engine
	switch {
	case e.epoch != epoch && epoch > 0:
		return true
	case !e.connected && epoch > 0:
		e.refunds = append(e.refunds, id)
		return false
	}
	now := m.now()
	maps.DeleteFunc(e.charged, func(_ session.ID, at time.Time) bool { return now.Sub(at) > shutdownTime })
	e.charged[id] = now
	return false
}

// epochOfEvents identifies the last event stream, which may have ended; 0: there was none yet.
func (m *monitor) epochOfEvents() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine.epoch
}

// refund takes back the last restart that was counted of a session: its server was ended by an engine that was stopping. A
// restart that waits still does not wait longer.
func (m *Manager) refund(ctx context.Context, id session.ID) error {
	_, err := m.change(ctx, id, func(s *session.Session) error {
		switch {
		case s.RestartCount == 0 || s.Status == session.Stopped:
			return errChanged
		case s.Operation != nil && s.Operation.Kind == session.OpRestart:
			s.StopReason, s.LastError = session.StopEngine, engineEnded
			m.appendEvent(ctx, s, session.EventStopped, engineEnded)
		}
		s.RestartCount--
		return nil
	})
	if err == nil {
		m.hurry(id)
	}
	return ignoreChanged(err)
}

// seenUp notes that a session's container was seen running at a time of this process, with the event stream of this epoch.
func (m *Manager) seenUp(id session.ID, epoch int, at time.Time) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	v, ok := m.monitor.records[id]
	if !ok || epoch == 0 {
		return
	}
	v.seenIn = epoch
	if v.signalled.Before(at) {
		v.signalled = time.Time{}
	}
	if v.died.Before(at) {
		v.died = time.Time{}
	}
}

// noteEnd remembers an event that belongs to the end of a container: a signal that somebody had the engine send, or the end.
func (m *Manager) noteEnd(e session.RuntimeEvent) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	v, ok := m.monitor.records[e.Session]
	switch {
	case !ok:
	case e.Action == session.ActionDie:
		v.died = time.Now()
		v.tellChange()
	case e.Action == session.ActionKill && endingSignals[e.Signal]:
		v.signalled = time.Now()
	}
}

// endingSignals are the names and numbers under which engines send the signals that are meant to end a container.
var endingSignals = map[string]bool{"9": true, "15": true, "KILL": true, "TERM": true, "SIGKILL": true, "SIGTERM": true}

// endOf is what this process has seen of the end of a container.
type endOf struct {
	known     bool // its container was seen running by this process
	watched   bool // events were received from then until now
	died      bool // the event of its end is among them
	signalled bool // and that of a signal that somebody had the engine send
}

// endOf also returns what is closed when more is known.
func (m *Manager) endOf(id session.ID) (endOf, <-chan struct{}) {
	m.monitor.mu.Lock()
	defer m.monitor.mu.Unlock()
	v, ok := m.monitor.records[id]
	if !ok || v.seenIn == 0 {
		return endOf{}, nil
	}
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	e := m.monitor.engine
	return endOf{
		known: true, watched: e.connected && e.epoch == v.seenIn,
		died: !v.died.IsZero(), signalled: !v.signalled.IsZero(),
	}, v.changed
}

// witness returns what is known of the end of a session's container once the event of it has had time to arrive.
func (m *Manager) witness(ctx context.Context, id session.ID) endOf {
	late := time.NewTimer(eventTime)
	defer late.Stop()
	for {
		end, changed := m.endOf(id)
		if !end.watched || end.died {
			return end
		}
		select {
		case <-changed:
		case <-late.C:
			return end
		case <-ctx.Done():
			return end
		}
	}
}

// signalCodes are the exit codes of a server that was asked to end, or killed, or whose end the engine has missed.
var signalCodes = []int{0, exitKilled, 128 + 15, 255}

// endedByEngine reports whether a container was ended by an engine that stopped or came back. Where this process was not
// there to see it, the exit code decides.
func (m *Manager) endedByEngine(ctx context.Context, c session.Container, end endOf) bool {
	switch {
	case c.OOMKilled:
		return false
	case !end.known || m.monitor.isMute():
		return slices.Contains(signalCodes, c.ExitCode)
	case !end.watched:
		return true
	}
	// An engine that is stopping accepts no connections, and sends events of the containers that it ends until they all have.
	ask, cancel := context.WithTimeout(ctx, m.opts.Health.Timeout)
	defer cancel()
	return m.runtime.Ping(ask) != nil
}

// isBeingRemoved reports whether a container that was seen stopped is on its way out, or out: who removes one that runs has
// the engine kill it first.
func (m *Manager) isBeingRemoved(ctx context.Context, c session.Container) bool {
	now, err := m.runtime.Inspect(ctx, c.ID)
	if err != nil {
		return session.CodeOf(err) == session.CodeNotFound
	}
	return now.State == session.StateRemoving || now.State == session.StateDead
}

// blameEngine reports whether the engine was away or stopping while a server was brought up, and then makes the failure the
// engine's: it ends containers, and breaks calls, in ways that look like the session's own fault. outages are those until the begin.
func (m *Manager) blameEngine(ctx context.Context, kind session.Kind, outages int, failure error) (away bool, _ error) {
	if failure == nil || !kind.BringsUp() {
		return false, failure
	}
	switch session.CodeOf(failure) {
	case session.CodeEngineUnavailable, session.CodeStartFailed, session.CodeInternal, session.CodeNotFound, session.CodePortTaken, session.CodeNotRunning:
	default: // what no engine's end looks like
		return false, failure
	}
	ctx, cancel := m.outlive(ctx)
	defer cancel()
	ask, end := context.WithTimeout(ctx, m.opts.Health.Timeout)
	defer end()
	if m.runtime.Ping(ask) == nil && m.monitor.outages() == outages && (outages%2 == 0 || m.monitor.isMute()) {
		return false, failure
	}
	if session.CodeOf(failure) == session.CodeEngineUnavailable {
		return true, failure
	}
	return true, session.Errorf(session.CodeEngineUnavailable, "the engine was stopped or restarted meanwhile; the %s goes on when it is back", kind).Because(failure)
}

// awaitEngine leaves an operation that met an engine that is not there for its return, as one that does not count.
func (m *Manager) awaitEngine(ctx context.Context, s session.Session) error {
	if s.Operation.Kind == session.OpCreate || s.Operation.Kind == session.OpStart && s.StopReason == session.StopEngine {
		return nil // it is that already
	}
	m.locate(s.ID, "")
	m.monitor.mu.Lock()
	delete(m.monitor.engine.charged, s.ID)
	m.monitor.engine.refunds = slices.DeleteFunc(m.monitor.engine.refunds, func(id session.ID) bool { return id == s.ID })
	m.monitor.mu.Unlock()
	_, err := m.change(ctx, s.ID, func(now *session.Session) error {
		if !now.IsSame(s) {
			return errChanged
		}
		*now = m.rules.AwaitEngine(*now, session.ActorOf(ctx), m.now())
		return nil
	})
	return ignoreChanged(err)
}
