package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// sessionLocks gives work exclusive use of a session within this process. While its mutex is held no other one is taken.
type sessionLocks struct {
	mu         sync.Mutex
	working    map[session.ID]*Work          // operations that this process runs
	unrecorded map[session.ID]unrecordedStop // stops that are still to be recorded
	closed     bool
	wg         sync.WaitGroup // of all work
}

func newSessionLocks() *sessionLocks {
	return &sessionLocks{working: map[session.ID]*Work{}, unrecorded: map[session.ID]unrecordedStop{}}
}

// unrecordedStop is a stop that the store does not have yet.
type unrecordedStop struct {
	session session.Session // as it was, with the stop as its operation
	by      string          // who asked for it
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

// release releases a lock for which no work was launched. A stop that is not recorded yet takes it back: then again holds the
// place for that, until it is ended by [sessionLocks.end] and [sessionLocks.done].
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

// begin notes that work is launched in its place, with what ends its context. The record of it must be written.
func (p *sessionLocks) begin(w *Work, s session.Session, cancel context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.kind, w.begun, w.cancel = s.Operation.Kind, s, cancel
	close(w.settled)
	switch {
	case w.preempted:
		cancel(errPreempted)
	case p.closed: // close may have been through the list already
		cancel(errShutdown)
	}
}

// conclude notes that the end of the work is being recorded.
func (p *sessionLocks) conclude(w *Work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.concluding = true
}

// end gives up the place of work that was launched.
func (p *sessionLocks) end(id session.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.working, id)
}

// done says that nothing of a piece of work goes on any more.
func (p *sessionLocks) done() { p.wg.Done() }

// isWorking reports whether this process works on a session.
func (p *sessionLocks) isWorking(id session.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.working[id] != nil
}

// addUnrecordedStop keeps a stop that is still to be recorded.
func (p *sessionLocks) addUnrecordedStop(stop unrecordedStop) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unrecorded[stop.session.ID] = stop
}

// removeUnrecordedStop forgets a stop that has been recorded or superseded.
func (p *sessionLocks) removeUnrecordedStop(id session.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.unrecorded, id)
}

// preempt ends work so that another operation can take its place. The session stays as the work leaves it, with the
// operation recorded, which the next one may take over.
func (p *sessionLocks) preempt(w *Work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.preempted = true
	if w.cancel != nil {
		w.cancel(errPreempted)
	}
}

// cancelSuperseded cancels this process's work on a session whose record says that it is no longer ours: another process has taken
// the operation over, or has done what it was meant to do. A zero Session is one that is gone. It reports whether there was such
// work.
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

// close waits for the work in progress until ctx ends, then calls halt and cuts the work short. No new work begins.
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
