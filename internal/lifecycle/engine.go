package lifecycle

import (
	"context"
	"maps"
	"slices"
	"syscall"
	"time"

	"berth/internal/session"
)

// An engine that stops, or restarts after a crash, stops its containers. This is not a failure of a session's server: it uses no
// restart and no delay. The cause of an exit is decided from what this process has observed: an exit counts against the server
// only if the engine's events were received without a gap since the container was last seen running, and the engine still
// accepts connections.

const (
	// lateEventTime is how long after a container's exit the engine's event of it may still arrive.
	lateEventTime = 3 * time.Second
	// engineShutdownTime is how long an engine that is stopping may still send the exit events of its containers.
	engineShutdownTime = 30 * time.Second
	// eventlessPingTimeout bounds the ping of an engine that sends no events.
	eventlessPingTimeout = 2 * time.Second
	// startSpread is the interval over which the starts of sessions are spread after the engine has recovered.
	startSpread = time.Second
)

// stream returns the present state of the event stream.
func (h *healthRecords) stream() eventStream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.engine.stream
}

// lacksEvents reports whether the engine answers but sends no events: their absence is then no evidence of an outage.
func (h *healthRecords) lacksEvents() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.engine.lacksEvents()
}

// isEngineUnreachable reports whether the last connection attempt failed and the engine does not answer a ping either.
func (h *healthRecords) isEngineUnreachable() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.engine.refused && !h.engine.lacksEvents()
}

// connected records that the engine's events are received again. It returns the sessions of which the last restart does not count.
func (h *healthRecords) connected() (refunds []session.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.engine
	e.stream.number++
	e.stream.open, e.refused, e.answers = true, false, 0
	e.stream.outages += e.stream.outages % 2
	refunds, e.refunds = e.refunds, nil
	return refunds
}

// disconnected records that the event stream has ended or could not be opened, and whether the engine still answers a ping.
func (h *healthRecords) disconnected(wasOpen, answers bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.engine
	e.stream.open, e.refused = false, !wasOpen
	if e.answers++; !answers {
		e.answers = 0
	}
	e.stream.outages += 1 - e.stream.outages%2
	now := h.now()
	for id, at := range e.charged {
		if now.Sub(at) <= engineShutdownTime {
			e.refunds = append(e.refunds, id)
		}
	}
	clear(e.charged)
	for _, v := range h.records {
		v.notifyChange()
	}
}

// charge records that a restart of a session was counted, which was decided with this event stream. If the stream has ended
// since, the engine was stopping, and charge reports that the restart does not count.
func (h *healthRecords) charge(id session.ID, decided eventStream) (refunded bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.engine
	switch {
	case decided.number > 0 && e.stream.number != decided.number:
		return true
	case decided.number > 0 && !e.stream.open:
		e.refunds = append(e.refunds, id)
		return false
	}
	now := h.now()
	maps.DeleteFunc(e.charged, func(_ session.ID, at time.Time) bool { return now.Sub(at) > engineShutdownTime })
	e.charged[id] = now
	return false
}

// uncharge removes the record of a counted restart.
func (h *healthRecords) uncharge(id session.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.engine.charged, id)
	h.engine.refunds = slices.DeleteFunc(h.engine.refunds, func(other session.ID) bool { return other == id })
}

// noteRunning records that a session's container was observed running at this time, with this event stream.
func (h *healthRecords) noteRunning(id session.ID, stream eventStream, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[id]
	if !ok || !stream.open {
		return
	}
	v.runningInStream = stream.number
	if v.signalledAt.Before(at) {
		v.signalledAt = time.Time{}
	}
	if v.exitedAt.Before(at) {
		v.exitedAt = time.Time{}
	}
}

// noteExitEvent records an event of a container's exit: a signal sent through the engine, or the exit itself.
func (h *healthRecords) noteExitEvent(e session.RuntimeEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[e.Session]
	switch {
	case !ok:
	case e.Action == session.ActionEnded:
		v.exitedAt = time.Now()
		v.notifyChange()
	case e.Action == session.ActionSignalled && (e.Signal == syscall.SIGKILL || e.Signal == syscall.SIGTERM):
		v.signalledAt = time.Now()
	}
}

// exitEvidence is what this process has observed of a container's exit.
type exitEvidence struct {
	known     bool // its container was seen running by this process
	watched   bool // events were received without a gap since then
	exited    bool // its exit event was among them
	signalled bool // and the event of a signal sent through the engine's API
}

// exitEvidence also returns a channel that is closed when there is new evidence.
func (h *healthRecords) exitEvidence(id session.ID) (exitEvidence, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[id]
	if !ok || v.runningInStream == 0 {
		return exitEvidence{}, nil
	}
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	e := h.engine
	return exitEvidence{
		known: true, watched: e.stream.open && e.stream.number == v.runningInStream,
		exited: !v.exitedAt.IsZero(), signalled: !v.signalledAt.IsZero(),
	}, v.changed
}

// awaitExitEvidence returns the evidence of a container's exit once its event has had time to arrive.
func (h *healthRecords) awaitExitEvidence(ctx context.Context, id session.ID) exitEvidence {
	late := time.NewTimer(lateEventTime)
	defer late.Stop()
	for {
		end, changed := h.exitEvidence(id)
		if !end.watched || end.exited {
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
