package lifecycle

import (
	"context"
	"errors"
	"time"

	"berth/internal/session"
)

// Work is an operation on a session, in progress or finished.
type Work struct {
	id   session.ID
	done chan struct{}

	// Guarded by sessionLocks.mu until the Work is returned to its caller.
	kind       session.Kind
	settled    chan struct{}           // closed when the work is launched, or its lock is released
	cancel     context.CancelCauseFunc // nil until the work is launched
	preempted  bool
	concluding bool                         // the outcome is being recorded; a conflict is decided by the record's revision
	handover   time.Duration                // how long to wait before acting
	skipDelay  chan struct{}                // closed to end handover early
	automatic  bool                         // a restart or start by Berth itself
	then       func(context.Context, *Work) // called when the work is done; may be nil
	forced     bool                         // preempts any operation in progress
	begun      session.Session              // as it was recorded when the work began

	// result and err are written before done is closed.
	result session.Session
	err    error
}

func newWork(id session.ID, kind session.Kind) *Work {
	return &Work{id: id, kind: kind, done: make(chan struct{}), settled: make(chan struct{}), skipDelay: make(chan struct{})}
}

// Session returns the session as it was recorded when the work began.
func (w *Work) Session() session.Session { return w.begun.Clone() }

// Wait returns the session at the end of the work, and the error of the work. If ctx ends first it returns a CodeCanceled error, and
// the work continues.
func (w *Work) Wait(ctx context.Context) (session.Session, error) {
	select {
	case <-w.done:
		return w.result.Clone(), w.err
	case <-ctx.Done():
		return session.Session{}, session.Errorf(session.CodeCanceled, "the caller left before the %s was done; it goes on", w.kind).Because(context.Cause(ctx))
	}
}

// finished returns the Work of a command that requires nothing.
func finished(s session.Session) *Work {
	w := &Work{id: s.ID, begun: s, result: s, done: make(chan struct{})}
	close(w.done)
	return w
}

// The causes with which the context of an operation is cancelled.
var (
	errPreempted = errors.New("a later operation preempted it")
	errTakenOver = errors.New("another process took the session over")
	errShutdown  = errors.New("this process is stopping")
)

// await waits for the handover or the delay of the work, until skipDelay is closed or ctx ends.
func (w *Work) await(ctx context.Context) {
	t := time.NewTimer(w.handover)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.skipDelay:
	case <-ctx.Done():
	}
}
