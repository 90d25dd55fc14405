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

	// Guarded by places.mu until the Work is handed out.
	kind       session.Kind
	settled    chan struct{}           // closed when the work is launched, or its place is given up
	cancel     context.CancelCauseFunc // nil until the work is launched
	preempted  bool
	concluding bool                         // the end is being recorded, which the record's revision decides
	handover   time.Duration                // how long to wait before acting
	skipDelay  chan struct{}                // closed when there is no reason left to wait
	automatic  bool                         // a restart or start of Berth's own
	then       func(context.Context, *Work) // called when the work is done; nil: nothing follows
	forced     bool                         // in place of whatever was in progress
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

// await waits until the work may act. When ctx ends, so does the work.
func (w *Work) await(ctx context.Context) {
	t := time.NewTimer(w.handover)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.skipDelay:
	case <-ctx.Done():
	}
}
