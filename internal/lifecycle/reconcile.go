package lifecycle

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"berth/internal/session"
)

// Run takes up interrupted work and makes records and containers agree, at once and then at intervals, and writes
// activity to the store, and follows what other processes do. It returns when ctx ends, with nil. ready is called after
// the first pass that succeeded.
func (m *Manager) Run(ctx context.Context, ready func()) error {
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { m.watchFeed(ctx) })
	others.Go(func() { m.locateAll(ctx) })
	others.Go(func() { m.watchHealth(ctx) })
	others.Go(func() { m.stopIdle(ctx) })
	others.Go(func() { m.sweepTokens(ctx) })
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := detach(ctx)
			defer cancel()
			return m.flush(last)
		case <-flush.C:
			if err := m.flush(ctx); err != nil && ctx.Err() == nil {
				m.opts.Logger.WarnContext(ctx, "activity not written, kept for later", "error", err)
			}
			if m.heard() {
				m.reconcileSoon()
			}
		case <-m.monitor.soon:
			wait.Reset(0)
		case <-wait.C:
			wait.Reset(m.opts.ReconcileEvery)
			if err := m.Reconcile(ctx); err != nil {
				if ready != nil { // nothing is served before the first pass: do not let them wait
					wait.Reset(firstRetry)
				}
				if ctx.Err() == nil {
					m.opts.Logger.ErrorContext(ctx, "reconciliation skipped", "error", err)
				}
			} else if ready != nil {
				ready()
				ready = nil
			}
		}
	}
}

// firstRetry is how soon a first pass that failed is tried again.
const firstRetry = time.Second

// Reconcile makes one pass over every record and every container. When either list cannot be had it changes nothing:
// what is not known is not an orphan. Sessions that another process looks after are followed and left alone.
func (m *Manager) Reconcile(ctx context.Context) error {
	ctx = m.opts.Background(ctx)
	// Containers first: a record is older than its container, so that a container of this list without a record in
	// the later list has none.
	epoch, begun := m.monitor.currentEpoch(), time.Now()
	containers, err := m.runtime.List(ctx)
	if err != nil {
		return err
	}
	page, err := m.store.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	byName := make(map[string]session.Container, len(containers))
	for _, c := range containers {
		byName[c.Name] = c
	}
	listed := make(map[session.ID]bool, len(page.Sessions))
	for _, s := range page.Sessions {
		listed[s.ID] = true
		m.dismissIdle(s)
		c, exists := byName[s.ContainerName]
		delete(byName, s.ContainerName)
		if exists && c.State == session.StateRunning {
			m.seenUp(s.ID, epoch, begun)
		}
		switch {
		case m.agrees(s, c, exists):
		case m.opts.Peers.Mine(s.ID):
			m.report(ctx, s.ID, m.agree(ctx, s.ID))
		default:
			m.report(ctx, s.ID, m.follow(ctx, s.ID))
		}
	}
	m.sweepOrphans(ctx, byName, len(page.Sessions))
	return m.dismiss(ctx, listed)
}

// report logs what could not be brought into agreement; the next pass tries again.
func (m *Manager) report(ctx context.Context, id session.ID, err error) {
	if err != nil && ctx.Err() == nil {
		m.opts.Logger.ErrorContext(ctx, "session and container could not be brought into agreement", "session_id", id, "error", err)
	}
}

// agrees looks at what the lists say. It may be out of date: nothing is changed on its word.
func (m *Manager) agrees(s session.Session, c session.Container, exists bool) bool {
	up := exists && c.State == session.StateRunning
	switch {
	case m.isWorking(s.ID):
		return true
	case s.Operation != nil:
		return !m.isDue(s) && m.isPublished(s)
	case s.Status == session.Running:
		return up && m.isPublishedAt(s, c.Address)
	default:
		return !up && m.isPublishedAt(s, "") && !m.healing(s)
	}
}

// agree makes one record and its container agree. It holds the session's place and looks at both again, so that no
// operation of this process can come between the look and the deed; one that does is left alone.
func (m *Manager) agree(ctx context.Context, id session.ID) error {
	w, _, err := m.reserve(id, opReconcile)
	if err != nil {
		return nil //nolint:nilerr // somebody works on it, or the process is stopping
	}
	kind, lost, err := m.mend(ctx, id)
	m.release(w)
	switch {
	case err != nil:
		return err
	case lost != nil:
		return m.heal(ctx, id, lost)
	case kind != "":
		return m.again(ctx, id, kind)
	}
	return nil
}

// mend does what can be done at once, and otherwise returns the operation that is needed, or why the session has to be
// healed.
func (m *Manager) mend(ctx context.Context, id session.ID) (session.Kind, *ailment, error) {
	s, err := m.giveWay(ctx, id)
	if session.CodeOf(err) == session.CodeNotFound {
		m.unpublish(id)
		return "", nil, nil
	} else if err != nil {
		return "", nil, err
	}
	epoch, begun := m.monitor.currentEpoch(), time.Now()
	c, err := m.runtime.Inspect(ctx, s.ContainerName)
	exists := err == nil
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		return "", nil, err
	}
	up := exists && c.State == session.StateRunning
	switch {
	case s.Operation != nil:
		return m.resume(ctx, s), nil, nil
	case s.Status == session.Running && up:
		err := m.adopt(ctx, s, c)
		m.seenUp(s.ID, epoch, begun)
		return "", nil, err
	case s.Status == session.Running && exists && (c.State == session.StatePaused || c.State == session.StateRestarting):
		m.publish(s) // on its way somewhere: look again at the next pass
		return "", nil, nil
	case s.Status == session.Running:
		why, err := m.lost(ctx, s, c, exists)
		return "", why, err
	case s.Status == session.Error && up:
		return "", nil, m.rescue(ctx, s, c)
	case m.healing(s):
		m.locate(s.ID, "")
		m.publish(s) // there may be no room for it
		return "", ails(CauseStart, session.Errorf(session.CodeNotRunning, "%s", s.LastError)), nil
	case s.Status == session.Stopped && up && s.StopReason == session.StopEngine:
		return session.OpStart, nil, nil
	case s.Status == session.Stopped && up && m.opts.Peers.Unheard(c.StartedAt):
		m.publish(s) // another process may have been asked to start it
		return "", nil, nil
	case s.Status == session.Stopped && up:
		m.opts.Logger.WarnContext(ctx, "container runs although its session is stopped; stopping it", "session_id", s.ID)
		return session.OpStop, nil, nil
	default:
		m.locate(s.ID, "")
		m.publish(s)
		return "", nil, nil
	}
}

func (m *Manager) isWorking(id session.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.working[id] != nil
}

// isDue reports whether the operation recorded with s is to be taken up now: its owner is gone, or it failed and may be tried
// again.
func (m *Manager) isDue(s session.Session) bool {
	return m.abandoned(s) && !(s.Operation.Pending() && !m.retries.due(s.ID, m.now()))
}

// resume returns the operation that is to be taken up; "" when its owner may still be at work. Nobody brings up a session
// any more that has reached the end of its life.
func (m *Manager) resume(ctx context.Context, s session.Session) session.Kind {
	if !m.isDue(s) {
		m.publish(s)
		return ""
	}
	if s.Operation.Kind.BringsUp() && m.isOver(s) {
		return session.OpStop
	}
	m.opts.Logger.InfoContext(ctx, "taking up an interrupted operation", "session_id", s.ID, "operation", s.Operation.Kind)
	return s.Operation.Kind
}

// again begins an operation for the reconciler; someone who was quicker is not an error.
func (m *Manager) again(ctx context.Context, id session.ID, kind session.Kind) error {
	_, err := m.beginAs(ctx, id, intent{kind: kind, internal: true})
	switch session.CodeOf(err) {
	case session.CodeInProgress, session.CodeConflict, session.CodeNotFound, session.CodeShuttingDown:
		return nil
	}
	return err
}

// adopt learns where a running session is: this process is new, or the container was restarted by someone else.
func (m *Manager) adopt(ctx context.Context, s session.Session, c session.Container) error {
	m.locate(s.ID, c.Address)
	if s.Port == portOf(c.Address) && s.ContainerID == c.ID {
		m.publish(s)
		return nil
	}
	return m.changeIf(ctx, s.ID, session.Running, func(s *session.Session) {
		s.Port, s.ContainerID = portOf(c.Address), c.ID
	})
}

// changeIf changes a session that has this status and no operation, and leaves any other alone.
func (m *Manager) changeIf(ctx context.Context, id session.ID, status session.Status, f func(*session.Session)) error {
	_, err := m.change(ctx, id, func(now *session.Session) error {
		if now.Status != status || now.Operation != nil {
			return errChanged
		}
		f(now)
		return nil
	})
	return ignoreChanged(err)
}

// ignoreChanged makes nothing of it that somebody else was quicker.
func ignoreChanged(err error) error {
	if errors.Is(err, errChanged) {
		return nil
	}
	return ignoreNotFound(err)
}

var errChanged = errors.New("the session has changed meanwhile")

// lost sees to a session whose container has stopped or gone without our doing: it returns why it is to be healed, or
// records that it is in error.
func (m *Manager) lost(ctx context.Context, s session.Session, c session.Container, exists bool) (*ailment, error) {
	end := m.witness(ctx, s.ID)
	why := ails(CauseGone, session.Errorf(session.CodeNotRunning, "the container is gone")).unless(toGetAnother)
	switch {
	case !exists && m.leaveUnheard(ctx, s):
		return nil, nil
	case !exists && end.signalled:
		why = removedByHand()
	case !exists:
	case m.endedByEngine(ctx, c, end):
		m.locate(s.ID, "")
		ended := engineEnded
		if !end.known {
			ended = unseenEnd(c.ExitCode)
		}
		m.opts.Logger.WarnContext(ctx, "session lost its container", "session_id", s.ID, "reason", ended)
		return ails(CauseEngine, session.Errorf(session.CodeNotRunning, "%s", ended)), nil
	case end.signalled && !c.OOMKilled && !m.hasStarved(s.ID) && m.leaveUnheard(ctx, s):
		return nil, nil
	case end.signalled && m.isBeingRemoved(ctx, c):
		why = removedByHand()
	case end.signalled && !c.OOMKilled && !m.hasStarved(s.ID):
		why = ails(CauseByHand, session.Errorf(session.CodeNotRunning, "the container was stopped by somebody with access to the engine (exit code %d)", c.ExitCode)).unless("start the session again")
	case c.OOMKilled, c.ExitCode == exitKilled && m.hasStarved(s.ID):
		why = ails(CauseMemory, session.Errorf(session.CodeNotRunning, "the server was killed because it ran out of memory; raise CONTAINER_MEMORY_LIMIT if that happens again")).unless("start the session again")
	case c.ExitCode == exitKilled: // the engine does not always notice why
		why = ails(CauseKilled, session.Errorf(session.CodeNotRunning, "the server was killed, perhaps because it ran out of memory")).unless("start the session again, or see its logs")
	default:
		why = ails(CauseExited, session.Errorf(session.CodeNotRunning, "the server ended by itself with code %d", c.ExitCode)).unless("start the session again, or see its logs")
	}
	m.opts.Logger.WarnContext(ctx, "session lost its container", "session_id", s.ID, "reason", why.Message)
	if why.cause == CauseMemory {
		m.notify(s, session.Starved, why.cause, why.Message)
	}
	m.locate(s.ID, "")
	if !exists && s.ContainerID != "" {
		// One that was renamed still has the volumes, and would run beside the next one.
		if err := m.runtime.Remove(ctx, s.ContainerID, true); err != nil {
			return nil, err
		}
	}
	if m.opts.Health.heals() {
		return why, nil
	}
	return nil, m.changeIf(ctx, s.ID, session.Running, func(now *session.Session) {
		now.Status, now.LastError, now.Port = session.Error, why.advised(), 0
		m.mark(ctx, now, session.Broken, now.LastError)
	})
}

// toGetAnother is what to do about a container that is gone.
const toGetAnother = "start the session to get a new one on the same workspace"

// exitKilled is the exit code of a server that SIGKILL ended.
const exitKilled = 128 + 9

// rescue looks at a session in error whose container runs, as after an outage of the engine in the middle of an
// operation: one that answers is running after all, any other is stopped.
func (m *Manager) rescue(ctx context.Context, s session.Session, c session.Container) error {
	probe, cancel := context.WithTimeout(ctx, m.opts.ProbeTimeout)
	defer cancel()
	err := m.prober.Probe(probe, session.Target{Address: c.Address, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s)})
	if err != nil {
		m.publish(s)
		if now, err := m.store.Get(ctx, s.ID); err != nil || now.Revision != s.Revision {
			return ignoreNotFound(err) // what has changed is seen to at the next pass
		}
		return m.runtime.Stop(ctx, c.ID, m.opts.StopTimeout)
	}
	m.opts.Logger.InfoContext(ctx, "session in error answers again", "session_id", s.ID)
	m.locate(s.ID, c.Address)
	return m.changeIf(ctx, s.ID, session.Error, func(now *session.Session) {
		now.Status, now.LastError, now.Port, now.ContainerID = session.Running, "", portOf(c.Address), c.ID
	})
}

// portOf returns the port of "ip:port", 0 when there is none.
func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}
