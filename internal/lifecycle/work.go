package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"berth/internal/session"
)

// Work is an operation that is being done to a session, or has been done.
type Work struct {
	kind session.Kind
	id   session.ID
	done chan struct{}

	// Guarded by Manager.mu until the Work is handed out.
	cancel     context.CancelCauseFunc // nil until the work is launched
	superseded bool
	concluding bool            // the end is being recorded, which the record's revision decides
	handover   time.Duration   // how long to wait before acting
	hurry      chan struct{}   // closed when there is no reason left to wait
	automatic  bool            // a restart that nobody asked for
	forced     bool            // in place of whatever was in progress
	begun      session.Session // as it was recorded when the work began

	// result and err are written before done is closed.
	result session.Session
	err    error
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

// opReconcile holds a session's place while the reconciler looks at it. It is never recorded.
const opReconcile session.Kind = "reconcile"

// from lists the statuses in which an operation may begin. An operation that is not allowed is a CodeConflict error.
var from = map[session.Kind][]session.Status{
	session.OpCreate:  {session.Creating},
	session.OpStart:   {session.Running, session.Stopped, session.Error},
	session.OpStop:    {session.Creating, session.Running, session.Stopped, session.Error},
	session.OpRestart: {session.Running, session.Stopped, session.Error},
	session.OpDelete:  {session.Creating, session.Running, session.Stopped, session.Error},
	session.OpUpgrade: {session.Running, session.Stopped, session.Error},
}

// Why the context of an operation ends before its work is done.
var (
	errSuperseded = errors.New("a later operation took its place")
	errTakenOver  = errors.New("another process took the session over")
	errShutdown   = errors.New("this process is stopping")
)

// errIsUp is why nothing is recorded: a session that is to be woken runs.
var errIsUp = errors.New("the session runs")

// reserve makes this process's place for work on a session. There is one place for each; when it is taken, reserve
// returns the work that has it, whether that is launched already, and a CodeInProgress error.
func (m *Manager) reserve(id session.ID, kind session.Kind) (w *Work, launched bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false, session.Errorf(session.CodeShuttingDown, "this server is stopping; try again in a moment").After(time.Second)
	}
	if w := m.working[id]; w != nil {
		return w, w.cancel != nil, busy(id, w.kind)
	}
	w = &Work{kind: kind, id: id, done: make(chan struct{}), hurry: make(chan struct{})}
	m.working[id] = w
	m.wg.Add(1)
	return w, false, nil
}

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
	m.mu.Unlock()
	close(w.done)
	m.wg.Done()
}

// begin records an operation and launches it. Work of the same kind that this process does already is joined, and
// stop and delete take the place of work that brings the session up.
func (m *Manager) begin(ctx context.Context, id session.ID, kind session.Kind) (*Work, error) {
	return m.beginAs(ctx, id, intent{kind: kind})
}

// intent is what is to be done to a session.
type intent struct {
	kind     session.Kind
	why      session.StopReason // of a stop of Berth's own
	force    bool               // whatever is in progress makes way
	asleep   bool               // only if it is stopped for want of use, or by the engine
	internal bool               // the reconciler's: nobody asks for anything new, so what is recorded as wanted stays

	// prepare completes the record of an operation that is more than its kind, or says why it may not begin. Such an
	// operation joins no other. before is the session without the operation.
	prepare func(before session.Session, s *session.Session) error
}

// over reports whether work of this kind makes way. A delete never does: what it has removed cannot come back.
func (i intent) over(k session.Kind) bool {
	if k == session.OpDelete {
		return false
	}
	return i.force && k != i.kind || k.BringsUp() && !i.kind.BringsUp()
}

func (m *Manager) beginAs(ctx context.Context, id session.ID, want intent) (*Work, error) {
	w, err := m.tryToBegin(ctx, id, want)
	if want.asleep && session.CodeOf(err) == session.CodeInProgress {
		return nil, err // it is being woken, which is what was wished
	}
	return w, m.refuse(ctx, Performance{What: string(want.kind), Session: id, Forced: want.force, Why: want.why}, err)
}

func (m *Manager) tryToBegin(ctx context.Context, id session.ID, want intent) (*Work, error) {
	kind := want.kind
	begun := time.Now()
	w, launched, err := m.reserve(id, kind)
	for session.CodeOf(err) == session.CodeInProgress {
		var again <-chan time.Time // nil: when it is done
		switch {
		case w.kind == kind && launched && want.prepare == nil:
			return w, nil
		case w.kind == opReconcile: // soon done
		case want.over(w.kind):
			m.supersede(w)
		case m.isPassing(w, launched, begun):
			again = time.After(recordPause)
		default:
			return nil, err
		}
		select {
		case <-w.done:
		case <-again:
		case <-ctx.Done():
			if free, _, err := m.reserve(id, kind); err == nil {
				m.release(free) // what made way for nothing goes on
			}
			return nil, session.Errorf(session.CodeCanceled, "the caller left before the %s began", kind).Because(context.Cause(ctx))
		}
		w, launched, err = m.reserve(id, kind)
	}
	if err != nil {
		return nil, err
	}
	s, takenOver, err := m.record(ctx, id, want)
	if errors.Is(err, errIsUp) {
		m.release(w)
		return finished(s), nil
	}
	if err != nil {
		if m.stopUnrecorded(ctx, w, want, err) {
			return w, nil
		}
		m.release(w)
		return nil, err
	}
	if takenOver {
		w.handover = m.opts.Handover
	}
	w.automatic = s.Operation.Automatic(s)
	w.forced = want.force
	m.launch(ctx, w, s)
	return w, nil
}

const (
	// recordTime is how long an operation waits for another one whose begin or end is being recorded.
	recordTime = time.Second
	// recordPause is how long it waits before it looks again.
	recordPause = 5 * time.Millisecond
)

// isPassing reports whether a place will be free in a moment: its work's begin or end is being recorded, and the store may
// say already that there is nothing, or it is only compared. since is when the place was first wanted.
func (m *Manager) isPassing(w *Work, launched bool, since time.Time) bool {
	if time.Since(since) >= recordTime {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return !launched || w.concluding || w.kind == opReconcile
}

// supersede ends work so that another operation can take its place. The session stays as the work leaves it, with the
// operation recorded, which the next one may take over.
func (m *Manager) supersede(w *Work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.superseded = true
	if w.cancel != nil {
		w.cancel(errSuperseded)
	}
}

// record writes the intent, or returns errIsUp with the session when there is nothing to do. Stop and delete take the
// place of work that brings the session up also when a process that is alive does it, which takenOver says: that process
// hears of it and ends its work.
func (m *Manager) record(ctx context.Context, id session.ID, want intent) (_ session.Session, takenOver bool, err error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	kind, why := want.kind, want.why
	for {
		s, err := m.store.Get(ctx, id)
		if err != nil {
			return session.Session{}, false, err
		}
		takenOver = s.Operation != nil && !m.abandoned(s)
		switch {
		case want.asleep && s.Status == session.Running && s.Operation == nil:
			return s, false, errIsUp
		case s.Operation != nil && s.Operation.Kind == session.OpDelete && kind != session.OpDelete:
			return session.Session{}, false, beingDeleted(s)
		case takenOver && !want.over(s.Operation.Kind):
			return session.Session{}, false, busy(id, s.Operation.Kind)
		case want.asleep && !wakes(s): // stopped by somebody since the request looked
			return session.Session{}, false, session.Errorf(session.CodeNotRunning, "session %s has been stopped", id)
		case !slices.Contains(from[kind], s.Status):
			return session.Session{}, false, session.Errorf(session.CodeConflict, "session %s is %s: it cannot be the object of %s", id, s.Status, kind)
		case kind.BringsUp() && m.isOver(s):
			return session.Session{}, false, session.Errorf(session.CodeConflict, "session %s has reached the end of its life; fetch what is in its workspace and delete it", id)
		case why == session.StopSize && s.Status != session.Running:
			return session.Session{}, false, session.Errorf(session.CodeConflict, "session %s does not run", id)
		case why != "" && why != session.StopSize && m.overdue(s) != why:
			return session.Session{}, false, session.Errorf(session.CodeConflict, "session %s is in use again", id)
		}
		if kind.BringsUp() && !s.Occupies() {
			if err := m.admit(ctx); err != nil {
				return session.Session{}, false, m.refused(err)
			}
		}
		before := s
		s = s.Clone()
		if !want.internal && (s.Operation == nil || s.Operation.Kind != kind) {
			s.RestartCount, s.StopReason = 0, why // somebody wants it
		}
		s.Operation = m.operation(kind)
		if kind == session.OpStart && !want.internal && before.Status != session.Running && (before.Operation == nil || before.Operation.Kind != kind) {
			m.mark(ctx, &s, session.Starting, "")
		}
		if want.prepare != nil {
			if err := want.prepare(before, &s); err != nil {
				return session.Session{}, false, err
			}
		}
		if s, err = m.store.Update(ctx, s, m.maxSessions()); session.CodeOf(err) != session.CodeConflict {
			return s, takenOver, m.refused(err)
		} // a token was rotated meanwhile
	}
}

func beingDeleted(s session.Session) error {
	if s.Operation.Pending() {
		return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone and takes longer than usual: %s", s.ID, s.LastError)
	}
	return session.Errorf(session.CodeConflict, "session %s is being deleted, which cannot be undone", s.ID)
}

// abandoned reports whether the operation recorded with s is nobody's any more. The caller holds the session's place
// in this process, so that an operation of our own that is recorded has ended without a word.
func (m *Manager) abandoned(s session.Session) bool {
	op := s.Operation
	return op.Pending() || op.Owner == m.opts.Process || !m.opts.Peers.Alive(op.Owner) || m.now().After(op.Deadline)
}

// launch does the work in a goroutine that outlives the request. The place must be reserved and the intent recorded.
func (m *Manager) launch(ctx context.Context, w *Work, s session.Session) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, stop := context.WithTimeout(ctx, m.allowance(w.kind)+w.handover)
	m.mu.Lock()
	delete(m.unrecorded, w.id)
	w.begun, w.cancel = s, cancel
	switch {
	case w.superseded:
		cancel(errSuperseded)
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
			m.healFurther(context.WithoutCancel(ctx), w)
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
	if w := m.working[id]; w != nil && w.automatic && w.cancel != nil {
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
