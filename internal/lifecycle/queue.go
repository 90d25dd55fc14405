package lifecycle

import (
	"context"
	"errors"
	"time"

	"berth/internal/session"
)

// Work is an operation that is being done to a session, or has been done.
type Work struct {
	id   session.ID
	done chan struct{}

	// Guarded by Manager.mu until the Work is handed out.
	kind       session.Kind
	turned     chan struct{}           // closed when the work is launched, or its place is given up
	cancel     context.CancelCauseFunc // nil until the work is launched
	preempted  bool
	concluding bool            // the end is being recorded, which the record's revision decides
	handover   time.Duration   // how long to wait before acting
	hurry      chan struct{}   // closed when there is no reason left to wait
	automatic  bool            // a restart or start of Berth's own
	forced     bool            // in place of whatever was in progress
	begun      session.Session // as it was recorded when the work began

	// result and err are written before done is closed.
	result session.Session
	err    error
}

func newWork(id session.ID, kind session.Kind) *Work {
	return &Work{id: id, kind: kind, done: make(chan struct{}), turned: make(chan struct{}), hurry: make(chan struct{})}
}

// Session returns the session as it was recorded when the work began.
func (w *Work) Session() session.Session { return w.begun.Clone() }

// Wait returns the session as the work left it, and why the work failed. When ctx ends first it returns ctx's error;
// the work goes on.
func (w *Work) Wait(ctx context.Context) (session.Session, error) {
	select {
	case <-w.done:
		return w.result.Clone(), w.err
	case <-ctx.Done():
		return session.Session{}, session.Errorf(session.CodeCanceled, "the caller left before the %s was done; it goes on", w.kind).Because(context.Cause(ctx))
	}
}

// finished is the Work of an operation for which there is nothing to do.
func finished(s session.Session) *Work {
	w := &Work{id: s.ID, begun: s, result: s, done: make(chan struct{})}
	close(w.done)
	return w
}

// Why the context of an operation ends before its work is done.
var (
	errPreempted = errors.New("a later operation took its place")
	errTakenOver = errors.New("another process took the session over")
	errShutdown  = errors.New("this process is stopping")
)

// occupancy is what holds a session's place in this process.
type occupancy struct {
	*Work
	kind       session.Kind
	launched   bool // its begin is recorded
	concluding bool // its end is being recorded
}

// reserve makes this process's place for work on a session. There is one place for each; when it is taken, reserve
// returns what has it and a CodeInProgress error.
func (m *Manager) reserve(id session.ID, kind session.Kind) (occupancy, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return occupancy{}, session.Errorf(session.CodeShuttingDown, "this server is stopping; try again in a moment").After(time.Second)
	}
	if w := m.working[id]; w != nil {
		return occupancy{w, w.kind, w.cancel != nil, w.concluding}, busy(id, w.kind)
	}
	w := newWork(id, kind)
	m.working[id] = w
	m.wg.Add(1)
	return occupancy{Work: w, kind: kind}, nil
}

// settleTime is how long a command waits for work whose begin or end is being recorded: the store may say already that there
// is nothing.
const settleTime = time.Second

// place returns the session's place in this process, or the work that has it and does what the command wants already. It
// waits for work that is preempted, and a moment for work that is about to end.
func (m *Manager) place(ctx context.Context, id session.ID, c Command) (w *Work, joined bool, err error) {
	settled := time.NewTimer(settleTime)
	defer settled.Stop()
	for {
		at, err := m.reserve(id, c.Kind)
		late := settled.C // nil: the wait has an end of its own
		var next <-chan struct{}
		switch {
		case session.CodeOf(err) != session.CodeInProgress:
			return at.Work, false, err
		case at.kind == c.Kind && at.launched && c.joins() && !m.isOvertaken(ctx, id):
			return at.Work, true, nil
		case at.kind == c.Kind && at.launched && c.joins(): // it is ending, for something else is to be done now
			next = at.done
		case at.kind != opReconcile && c.preempts(at.kind):
			m.preempt(at.Work)
			next, late = at.done, nil
		case at.concluding:
			next = at.done
		case at.kind == opReconcile: // however long the engine takes to answer
			next, late = at.turned, nil
		case !at.launched:
			next = at.turned
		default:
			return nil, false, err
		}
		select {
		case <-next:
		case <-late:
			return nil, false, err
		case <-ctx.Done():
			if free, err := m.reserve(id, c.Kind); err == nil {
				m.release(free.Work) // what was preempted for nothing goes on
			}
			return nil, false, session.Errorf(session.CodeCanceled, "the caller left before the %s began", c.Kind).Because(context.Cause(ctx))
		}
	}
}

// isOvertaken reports whether the work that this process does on a session is not what is recorded any more, and ends it then:
// another process was asked for something else since, of which this one has not been notified.
func (m *Manager) isOvertaken(ctx context.Context, id session.ID) bool {
	s, err := m.store.Get(ctx, id)
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		return false
	}
	return m.yield(id, s)
}

// opReconcile holds a session's place while the reconciler looks at it. It is never recorded.
const opReconcile session.Kind = "reconcile"

func busy(id session.ID, kind session.Kind) error {
	return session.Errorf(session.CodeInProgress, "session %s is busy: %s in progress; try again when it is done", id, kind).After(time.Second)
}

// release gives up a place for which no work was launched. A stop that is not recorded yet takes it back.
func (m *Manager) release(w *Work) {
	m.mu.Lock()
	delete(m.working, w.id)
	if stop, is := m.unrecorded[w.id]; is && !m.closed {
		m.resumeStopped(stop)
	}
	close(w.turned)
	m.mu.Unlock()
	close(w.done)
	m.wg.Done()
}

// begin records an operation and launches it. Work of the same kind that this process does already is joined, and
// stop and delete take the place of work that brings the session up.
func (m *Manager) begin(ctx context.Context, id session.ID, kind session.Kind) (*Work, error) {
	return m.obey(ctx, id, Command{Kind: kind})
}

// obey records what a command leads to, and begins it. The Work has ended already when there is nothing to do.
func (m *Manager) obey(ctx context.Context, id session.ID, c Command) (*Work, error) {
	w, err := m.tryToObey(ctx, id, c)
	if c.Wake && session.CodeOf(err) == session.CodeInProgress {
		return nil, err // it is being woken, which is what is wanted
	}
	return w, m.refuse(ctx, OperationResult{Operation: string(c.Kind), Session: id, Forced: c.Force, StopReason: c.Reason}, err)
}

func (m *Manager) tryToObey(ctx context.Context, id session.ID, c Command) (*Work, error) {
	w, joined, err := m.place(ctx, id, c)
	if err != nil || joined {
		return w, err
	}
	return m.obeyIn(ctx, w, c)
}

// obeyIn is obey for who holds the session's place, which is given up unless work is begun.
func (m *Manager) obeyIn(ctx context.Context, w *Work, c Command) (*Work, error) {
	c.Actor = session.ActorOf(ctx)
	s, verdict, err := m.record(ctx, w.id, c)
	switch {
	case err != nil && m.stopUnrecorded(ctx, w, c, err):
		return w, nil
	case err != nil:
		m.release(w)
		return nil, err
	case verdict == Keep:
		m.release(w)
		return finished(s), nil
	case verdict == Preempt:
		w.handover = m.opts.Handover
	}
	w.automatic, w.forced = s.Operation.Automatic(s), c.Force
	m.launch(ctx, w, s)
	return w, nil
}

// preempt ends work so that another operation can take its place. The session stays as the work leaves it, with the
// operation recorded, which the next one may take over.
func (m *Manager) preempt(w *Work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.preempted = true
	if w.cancel != nil {
		w.cancel(errPreempted)
	}
}

// record writes what a command leads to, unless there is nothing to do (Keep).
func (m *Manager) record(ctx context.Context, id session.ID, c Command) (session.Session, Verdict, error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	for {
		s, err := m.store.Get(ctx, id)
		if err != nil {
			return session.Session{}, "", err
		}
		seen := Situation{Holder: m.holder(s)}
		if c.Kind.BringsUp() && !s.Occupies() {
			seen.Capacity = m.admit(ctx)
		}
		d := m.rules.Decide(s, seen, c, m.now())
		switch d.Verdict {
		case Keep:
			return s, d.Verdict, nil
		case Refuse:
			return session.Session{}, d.Verdict, m.refused(ctx, d.Refusal)
		}
		if s, err = m.store.Update(ctx, d.Next, m.maxSessions()); session.CodeOf(err) != session.CodeConflict {
			return s, d.Verdict, m.refused(ctx, err)
		} // a token was rotated meanwhile
	}
}

func beingDeleted(s session.Session) error {
	if s.Operation.Pending() {
		return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone and takes longer than usual: %s", s.ID, s.LastError)
	}
	return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone", s.ID)
}

// holder says who does the recorded operation. The caller holds the session's place in this process, so that an operation
// of our own that is recorded has ended and could not say so.
func (m *Manager) holder(s session.Session) Holder {
	op := s.Operation
	switch {
	case op == nil:
		return HeldByNobody
	case op.Pending() && !m.retries.due(s.ID, m.now()):
		return RetryLater
	case op.Pending():
		return RetryNow
	case op.Owner == m.opts.Process || !m.opts.Peers.Alive(op.Owner) || m.outlasting.isOver(s, m.rules.takeoverAfter(s, m.opts.Handover), m.opts.Now()):
		return Abandoned
	}
	return HeldByOther
}

// launch does the work in a goroutine that outlives the request. The place must be reserved and the intent recorded.
func (m *Manager) launch(ctx context.Context, w *Work, s session.Session) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, stop := context.WithTimeout(ctx, m.rules.allowance(s.Operation.Kind)+w.handover)
	m.mu.Lock()
	delete(m.unrecorded, w.id)
	w.kind, w.begun, w.cancel = s.Operation.Kind, s, cancel
	close(w.turned)
	switch {
	case w.preempted:
		cancel(errPreempted)
	case m.closed: // Close may have been through the list already
		cancel(errShutdown)
	}
	m.mu.Unlock()
	m.publish(s)
	go func() {
		defer m.wg.Done()
		defer cancel(nil)
		defer stop()
		w.await(ctx)
		epoch := m.monitor.currentEpoch()
		w.result, w.err = m.inTurn(ctx, w, s)
		m.mu.Lock()
		delete(m.working, w.id)
		m.mu.Unlock()
		close(w.done)
		if now := m.monitor.currentEpoch(); session.CodeOf(w.err) == session.CodeEngineUnavailable && now != 0 && now != epoch {
			m.reconcileSoon() // the engine has returned, and what waits for that was passed over as being worked on
		}
		if w.automatic {
			m.restartAgain(context.WithoutCancel(ctx), w)
		}
	}()
}

// await waits until the work may act. When ctx ends, so does the work.
func (w *Work) await(ctx context.Context) {
	t := time.NewTimer(w.handover)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.hurry:
	case <-ctx.Done():
	}
}

// hurry lets the work on a session that waits act at once.
func (m *Manager) hurry(id session.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.working[id]; w != nil && w.cancel != nil && w.automatic {
		select {
		case <-w.hurry:
		default:
			close(w.hurry)
		}
	}
}

// inTurn performs work, that which nobody asked for when it is its turn.
func (m *Manager) inTurn(ctx context.Context, w *Work, s session.Session) (session.Session, error) {
	if w.automatic {
		select {
		case m.healers <- struct{}{}:
			defer func() { <-m.healers }()
		case <-ctx.Done(): // which ends the work
		}
	}
	return m.perform(ctx, w, s)
}

// Close waits for the work in progress until ctx ends, then cuts it short: it stays recorded, and the next process
// takes it up. No new work begins. Close may be called again.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	done := make(chan struct{})
	go func() { m.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	m.halt()
	m.mu.Lock()
	for _, w := range m.working {
		if w.cancel != nil {
			w.cancel(errShutdown)
		}
	}
	m.mu.Unlock()
	<-done
	return nil
}
