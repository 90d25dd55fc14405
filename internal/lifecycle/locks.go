package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// sessionLocks gives work exclusive access to a session within this process. While its mutex is held no other one is taken.
type sessionLocks struct {
	mu         sync.Mutex
	working    map[session.ID]*Work          // operations that this process runs
	unrecorded map[session.ID]unrecordedStop // stops that are not recorded yet
	closed     bool
	wg         sync.WaitGroup // of all work
}

func newSessionLocks() *sessionLocks {
	return &sessionLocks{working: map[session.ID]*Work{}, unrecorded: map[session.ID]unrecordedStop{}}
}

// unrecordedStop is a stop that the store does not have yet.
type unrecordedStop struct {
	session session.Session // as before, with the stop as its operation
	by      string          // the actor that requested it
}

// lockHolder is the work that holds a session's lock.
type lockHolder struct {
	*Work
	kind       session.Kind
	launched   bool // its begin is recorded
	concluding bool // its end is being recorded
}

// opReconcile holds a session's lock while the reconciler looks at it. It is never recorded.
const opReconcile session.Kind = "reconcile"

// acquire takes a session's lock for work. When it is held, acquire returns the holder and a CodeInProgress error.
func (p *sessionLocks) acquire(id session.ID, kind session.Kind) (lockHolder, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return lockHolder{}, session.Errorf(session.CodeShuttingDown, "this server is stopping; try again in a moment").After(time.Second)
	}
	if w := p.working[id]; w != nil {
		return lockHolder{w, w.kind, w.cancel != nil, w.concluding}, inProgressError(id, w.kind)
	}
	w := newWork(id, kind)
	p.working[id] = w
	p.wg.Add(1)
	return lockHolder{Work: w, kind: kind}, nil
}

// release releases a lock for which no work was launched. If a stop of the session is not recorded yet, again holds the lock for
// it until [sessionLocks.end] and [sessionLocks.done] are called.
func (p *sessionLocks) release(w *Work) (again *Work, stop unrecordedStop) {
	p.mu.Lock()
	delete(p.working, w.id)
	stop, is := p.unrecorded[w.id]
	if is && !p.closed {
		again = newWork(w.id, session.OpStop)
		p.working[w.id] = again
		p.wg.Add(1)
	}
	close(w.settled)
	p.mu.Unlock()
	close(w.done)
	p.wg.Done()
	return again, stop
}

// begin marks the holder of a lock as launched. cancel ends its context. The operation must have been recorded.
func (p *sessionLocks) begin(w *Work, s session.Session, cancel context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.kind, w.begun, w.cancel = s.Operation.Kind, s, cancel
	close(w.settled)
	switch {
	case w.preempted:
		cancel(errPreempted)
	case p.closed: // close may have cancelled the others already
		cancel(errShutdown)
	}
}

// conclude marks the work as ending: its outcome is being recorded.
func (p *sessionLocks) conclude(w *Work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.concluding = true
}

// end releases the lock of work that was launched.
func (p *sessionLocks) end(id session.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.working, id)
}

// done reports that a piece of work has ended completely.
func (p *sessionLocks) done() { p.wg.Done() }

// isWorking reports whether work of this process is in progress on a session.
func (p *sessionLocks) isWorking(id session.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.working[id] != nil
}

// addUnrecordedStop keeps a stop that is not recorded yet.
func (p *sessionLocks) addUnrecordedStop(stop unrecordedStop) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unrecorded[stop.session.ID] = stop
}

// removeUnrecordedStop removes a stop that has been recorded or superseded.
func (p *sessionLocks) removeUnrecordedStop(id session.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.unrecorded, id)
}

// preempt cancels work so that another operation can begin. The session stays as the work leaves it, with the operation recorded,
// which the next operation replaces.
func (p *sessionLocks) preempt(w *Work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.preempted = true
	if w.cancel != nil {
		w.cancel(errPreempted)
	}
}

// cancelSuperseded cancels this process's work on a session if the record s shows that another process has taken the operation
// over or has completed it. A zero Session means that the session was deleted. It reports whether work was cancelled.
func (p *sessionLocks) cancelSuperseded(id session.ID, s session.Session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.working[id]
	if w == nil || w.cancel == nil || w.kind == session.OpDelete && s.ID == "" {
		return false
	}
	newer := s.ID == "" || w.begun.Revision < s.Revision || w.begun.CreatedAt.Before(s.CreatedAt)
	if !newer || s.Operation.Same(w.begun.Operation) || w.concluding {
		return false
	}
	w.cancel(errTakenOver)
	return true
}

// skipDelay ends the delay of automatic work on a session.
func (p *sessionLocks) skipDelay(id session.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.working[id]; w != nil && w.cancel != nil && w.automatic {
		select {
		case <-w.skipDelay:
		default:
			close(w.skipDelay)
		}
	}
}

// close waits for the work in progress until ctx ends, then calls halt and cancels the work. No new work begins.
func (p *sessionLocks) close(ctx context.Context, halt func()) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	halt()
	p.mu.Lock()
	for _, w := range p.working {
		if w.cancel != nil {
			w.cancel(errShutdown)
		}
	}
	p.mu.Unlock()
	<-done
}
