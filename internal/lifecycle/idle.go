package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// idle requests the stop of idle and expired sessions.
type idle struct {
	store    session.Store
	prober   session.Prober
	keys     Keys
	opts     Options
	rules    Rules
	activity *activity
	routes   *publisher
	queue    *queue

	due *worklist // sessions to stop, unless their servers are busy

	mu   sync.Mutex
	busy map[session.ID]bool // unused sessions with a busy server
}

func newIdle(store session.Store, prober session.Prober, keys Keys, opts Options, rules Rules, used *activity, routes *publisher, q *queue) *idle {
	return &idle{
		store: store, prober: prober, keys: keys, opts: opts, rules: rules, activity: used, routes: routes, queue: q,
		due: newWorklist(), busy: map[session.ID]bool{},
	}
}

// maxConcurrentStops is how many idle sessions are checked and stopped at once.
const maxConcurrentStops = 4

// enqueueIfDue queues a session of this process for its stop when it is idle or expired.
func (i *idle) enqueueIfDue(s session.Session) {
	if s.Operation == nil && i.rules.stopReasonDue(s, i.opts.now()) != "" && i.opts.Peers.Mine(s.ID) {
		i.due.add(s.ID)
		return
	}
	i.setBusy(s.ID, false)
}

// setBusy records whether an unused session is kept running because its server is busy.
func (i *idle) setBusy(id session.ID, busy bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if busy {
		i.busy[id] = true
	} else {
		delete(i.busy, id)
	}
}

// run stops the sessions in the queue until ctx ends.
func (i *idle) run(ctx context.Context) {
	i.due.each(ctx, maxConcurrentStops, func(id session.ID) {
		ctx := i.opts.Tracer.Start(ctx)
		if err := i.stopIfDue(ctx, id); err != nil && ctx.Err() == nil {
			i.opts.Logger.WarnContext(ctx, "idle or expired session not stopped; the next reconciliation retries",
				"session_id", id, "error", err)
		}
	})
}

// stopIfDue stops a session if it is still idle or expired.
func (i *idle) stopIfDue(ctx context.Context, id session.ID) error {
	if err := i.activity.flush(ctx); err != nil { // includes activity of the last second
		return err
	}
	s, err := i.store.Get(ctx, id)
	if err != nil {
		return ignoreNotFound(err)
	}
	why := i.rules.stopReasonDue(s, i.opts.now())
	if why == "" || s.Operation != nil {
		return nil
	}
	if why == session.StopIdle && i.isBusy(ctx, s) {
		i.setBusy(id, true)
		return nil
	}
	w, err := i.queue.submit(ctx, id, Command{Kind: session.OpStop, Reason: why})
	if code := session.CodeOf(err); code == session.CodeConflict || code == session.CodeInProgress || code == session.CodeNotFound {
		return nil // another operation has begun
	} else if err != nil {
		return err
	}
	i.opts.Logger.InfoContext(ctx, "session is being stopped", "session_id", id, "reason", why, "last_accessed", s.LastAccessed)
	_, err = w.Wait(ctx)
	return err
}

// isBusy reports whether an unused session's server is busy. MaxBusy bounds how long that keeps a session running. A server that
// does not answer counts as busy, within the same bound.
func (i *idle) isBusy(ctx context.Context, s session.Session) bool {
	address := i.routes.addressOf(s.ID)
	if address == "" || len(i.routes.profileOf(s).Busy) == 0 || i.opts.now().Sub(s.LastAccessed) >= i.opts.IdleTimeout+i.opts.MaxBusy {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, i.opts.Health.Timeout)
	defer cancel()
	busy, err := i.prober.Busy(ctx, session.Target{Address: address, Credential: i.keys.Upstream(s.ContainerName), Profile: i.routes.profileOf(s)})
	return busy || err != nil
}

// isKnownBusy reports whether a session is kept running because its server is busy.
func (i *idle) isKnownBusy(id session.ID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.busy[id]
}

// IdleDeadline is when a session is stopped because it is idle or its lifetime ends.
type IdleDeadline struct {
	Until time.Time // the session is stopped then, unless it is used; zero: it keeps running
	Busy  bool      // the server is busy, which keeps an unused session running
}

// IdleDeadline returns the deadline of a running session; the zero IdleDeadline for any other.
func (m *Manager) IdleDeadline(s session.Session) IdleDeadline {
	if s.Status != session.Running {
		return IdleDeadline{}
	}
	deadline := IdleDeadline{Busy: m.idle.isKnownBusy(s.ID), Until: s.ExpiresAt}
	if m.opts.IdleTimeout > 0 {
		unused := s.LastAccessed.Add(m.opts.IdleTimeout)
		if deadline.Busy {
			unused = unused.Add(m.opts.MaxBusy)
		}
		if deadline.Until.IsZero() || unused.Before(deadline.Until) {
			deadline.Until = unused
		}
	}
	return deadline
}

// StopOversized stops a running session that uses more of the engine's disk than allowed, and waits for the stop. It does nothing
// while another operation is in progress on the session.
func (m *Manager) StopOversized(ctx context.Context, id session.ID) error {
	w, err := m.queue.submit(ctx, id, Command{Kind: session.OpStop, Reason: session.StopSize})
	if code := session.CodeOf(err); code == session.CodeConflict || code == session.CodeInProgress || code == session.CodeNotFound {
		return nil
	} else if err != nil {
		return err
	}
	m.opts.Logger.InfoContext(ctx, "session is being stopped", "session_id", id, "reason", session.StopSize)
	_, err = w.Wait(ctx)
	return err
}
