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
	var all sync.WaitGroup
	turns := make(chan struct{}, reconcilers)
	for _, s := range page.Sessions {
		listed[s.ID] = true
		m.dismissIdle(s)
		c, exists := byName[s.ContainerName]
		delete(byName, s.ContainerName)
		if exists && c.State == session.StateRunning {
			m.seenUp(s.ID, epoch, begun)
		}
		if m.isReconciled(s, c, exists) {
			continue
		}
		see := m.follow
		if m.opts.Peers.Mine(s.ID) {
			see = m.reconcile
		}
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			m.report(ctx, s.ID, see(ctx, s.ID))
		})
	}
	all.Wait()
	m.outlasting.keep(listed)
	m.sweepOrphans(ctx, byName, len(page.Sessions))
	return m.dismiss(ctx, listed)
}

// reconcilers is how many sessions are reconciled at once. One may have to wait for a server that does not answer, or that does
// not end, and the others must not wait for that.
const reconcilers = 16

// report logs what could not be brought into agreement; the next pass tries again.
func (m *Manager) report(ctx context.Context, id session.ID, err error) {
	if err != nil && ctx.Err() == nil {
		m.opts.Logger.ErrorContext(ctx, "session and container could not be brought into agreement", "session_id", id, "error", err)
	}
}

// isReconciled looks at what the lists say. It may be out of date: nothing is changed because of it.
func (m *Manager) isReconciled(s session.Session, c session.Container, exists bool) bool {
	if m.isWorking(s.ID) {
		return true
	}
	d := m.rules.Decide(s, m.situation(s, c, exists), Command{}, m.now())
	switch {
	case d.Verdict == Adopt:
		return !d.Changed && m.isPublishedAt(s, c.Address)
	case d.Verdict != Keep:
		return false
	case s.Operation != nil || s.Status == session.Running:
		return m.isPublished(s)
	}
	return m.isPublishedAt(s, "")
}

// reconcile makes one record and its container agree. It holds the session's place and looks at both again, so that no
// operation of this process can come between the look and the deed; one that does is left alone.
func (m *Manager) reconcile(ctx context.Context, id session.ID) error {
	at, err := m.reserve(id, opReconcile)
	if err != nil {
		return nil //nolint:nilerr // somebody works on it, or the process is stopping
	}
	w := at.Work
	d, seen, err := m.examine(ctx, id)
	switch {
	case err != nil:
		m.release(w)
		return err
	case d.Verdict == Resume:
		return m.resume(ctx, w, d.Kind)
	case d.Verdict == Restart || d.Verdict == Fail || d.Verdict == BringBack:
		return m.settleIn(ctx, w, seen)
	}
	m.release(w)
	return nil
}

// examine decides about a session and does what can be done at once. What begins an operation is returned. The caller holds the
// session's place.
func (m *Manager) examine(ctx context.Context, id session.ID) (Decision, Situation, error) {
	s, err := m.giveWay(ctx, id)
	if session.CodeOf(err) == session.CodeNotFound {
		m.unpublish(id)
		return keep(), Situation{}, nil
	} else if err != nil {
		return Decision{}, Situation{}, err
	}
	epoch, begun := m.monitor.currentEpoch(), time.Now()
	c, err := m.runtime.Inspect(ctx, s.ContainerName)
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		return Decision{}, Situation{}, err
	}
	seen := m.situation(s, c, err == nil)
	err = nil
	if s.Status == session.Stopped && seen.Container == Up {
		seen.OthersUnknown = m.opts.Peers.Unreachable(c.StartedAt)
	}
	d := m.rules.Decide(s, seen, Command{}, m.now())
	switch d.Verdict {
	case FindCause:
		seen.Ended = m.findCause(ctx, s, c, seen.Container == Absent)
		noticed, waiting := m.waitingSince(s.ID)
		seen.OthersUnknown = m.opts.Peers.Unreachable(noticed)
		if d = m.rules.Decide(s, seen, Command{}, m.now()); d.Verdict == Wait {
			m.awaitOthers(ctx, s, noticed, waiting)
			return d, seen, nil
		}
		m.forgetUnheard(s.ID)
		return d, seen, m.loseContainer(ctx, s, seen)
	case AskServer:
		seen.Server = m.askServer(ctx, s, c)
		d = m.rules.Decide(s, seen, Command{}, m.now())
	}
	if s.Status == session.Running && s.Operation == nil && seen.Ended != nil {
		m.opts.Logger.WarnContext(ctx, "session cannot be reached", "session_id", s.ID, "reason", seen.Ended.Failure.Message)
		m.locate(s.ID, "")
	}
	switch d.Verdict {
	case Adopt:
		if err = m.adopt(ctx, s, d.Next, c); s.Status == session.Running {
			m.seenUp(s.ID, epoch, begun)
		}
	case Stop:
		err = m.stopUseless(ctx, s, c)
	case Resume:
		if s.Operation != nil {
			m.opts.Logger.InfoContext(ctx, "taking up an interrupted operation", "session_id", s.ID, "operation", s.Operation.Kind)
		} else if d.Kind == session.OpStop {
			m.opts.Logger.WarnContext(ctx, "container runs although its session is stopped; stopping it", "session_id", s.ID)
		}
	default:
		if s.Operation == nil && s.Status != session.Running && seen.Container != Up {
			m.locate(s.ID, "")
		}
		m.publish(s)
	}
	return d, seen, err
}

// situation is what the runtime's word on a container amounts to. A server that has no address works for nobody.
func (m *Manager) situation(s session.Session, c session.Container, exists bool) Situation {
	seen := Situation{Holder: m.holder(s), Container: seenAs(c, exists)}
	if seen.Container == Up && c.Address == "" {
		seen.Server, seen.Ended = DoesNotWork, unreachable()
	}
	return seen
}

// seenAs classifies what the runtime says about a container.
func seenAs(c session.Container, exists bool) Seen {
	switch {
	case !exists:
		return Absent
	case c.State == session.StateRunning:
		return Up
	case c.State == session.StatePaused || c.State == session.StateRestarting:
		return Changing
	}
	return Down
}

func (m *Manager) isWorking(id session.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.working[id] != nil
}

// resume begins an operation in the place that is held; someone who was quicker is not an error.
func (m *Manager) resume(ctx context.Context, w *Work, kind session.Kind) error {
	_, err := m.obeyIn(ctx, w, Command{Kind: kind, Resume: true})
	err = m.refuse(ctx, OperationResult{Operation: string(kind), Session: w.id}, err)
	switch session.CodeOf(err) {
	case session.CodeInProgress, session.CodeConflict, session.CodeNotFound, session.CodeShuttingDown:
		return nil
	}
	return err
}

// adopt learns where a session's server is: this process is new, the container was restarted by someone else, or a session in
// error works after all. next is the record as it is to be.
func (m *Manager) adopt(ctx context.Context, s, next session.Session, c session.Container) error {
	m.locate(s.ID, c.Address)
	if s.Status == next.Status && s.Port == portOf(c.Address) && s.ContainerID == c.ID {
		m.publish(s)
		return nil
	}
	return m.changeIf(ctx, s.ID, s.Status, func(now *session.Session) {
		now.Status, now.LastError, now.Port, now.ContainerID = next.Status, next.LastError, portOf(c.Address), c.ID
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

// askServer asks the server of a session in error, whose container runs as after an outage of the engine in the middle of an
// operation.
func (m *Manager) askServer(ctx context.Context, s session.Session, c session.Container) Answer {
	probe, cancel := context.WithTimeout(ctx, m.opts.ProbeTimeout)
	defer cancel()
	if m.prober.Probe(probe, session.Target{Address: c.Address, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s)}) != nil {
		return DoesNotWork
	}
	m.opts.Logger.InfoContext(ctx, "session in error answers again", "session_id", s.ID)
	return Works
}

// stopUseless stops the container of a session in error whose server does not work.
func (m *Manager) stopUseless(ctx context.Context, s session.Session, c session.Container) error {
	m.publish(s)
	if now, err := m.store.Get(ctx, s.ID); err != nil || now.Revision != s.Revision {
		return ignoreNotFound(err) // what has changed is seen to at the next pass
	}
	return m.runtime.Stop(ctx, c.ID, m.opts.StopTimeout)
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
