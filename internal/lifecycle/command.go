package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// transitionTimeout is how long a command waits for work of which the begin or the end is being recorded: the store may already
// show no operation.
const transitionTimeout = time.Second

// acquire returns the session's lock in this process, or the work that holds the lock if the command joins it. It waits for work
// that it preempts, and for transitionTimeout for work that is about to end.
func (q *queue) acquire(ctx context.Context, id session.ID, c Command) (w *Work, joined bool, err error) {
	settled := time.NewTimer(transitionTimeout)
	defer settled.Stop()
	for {
		at, err := q.locks.acquire(id, c.Kind)
		late := settled.C // nil: the wait is bounded otherwise
		var next <-chan struct{}
		switch {
		case session.CodeOf(err) != session.CodeInProgress:
			return at.Work, false, err
		case at.kind == c.Kind && at.launched && c.joins() && !q.isSuperseded(ctx, id):
			return at.Work, true, nil
		case at.kind == c.Kind && at.launched && c.joins(): // superseded, so it is about to end
			next = at.done
		case at.kind != opReconcile && c.preempts(at.kind):
			q.locks.preempt(at.Work)
			next, late = at.done, nil
		case at.concluding:
			next = at.done
		case at.kind == opReconcile: // without a time-out: the engine may be slow to answer
			next, late = at.settled, nil
		case !at.launched:
			next = at.settled
		default:
			return nil, false, err
		}
		select {
		case <-next:
		case <-late:
			return nil, false, err
		case <-ctx.Done():
			if free, err := q.locks.acquire(id, c.Kind); err == nil {
				q.release(free.Work) // the preempted operation is resumed
			}
			return nil, false, session.Errorf(session.CodeCanceled, "the caller left before the %s began", c.Kind).Because(context.Cause(ctx))
		}
	}
}

// isSuperseded reports whether this process's work on a session is no longer the recorded operation, and cancels it in that case:
// another process has recorded a different one, of which this process has not been notified yet.
func (q *queue) isSuperseded(ctx context.Context, id session.ID) bool {
	s, err := q.store.Get(ctx, id)
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		return false
	}
	return q.locks.cancelSuperseded(id, s)
}

// submit decides a command, records the result and begins the work. The Work is finished if there is nothing to do.
func (q *queue) submit(ctx context.Context, id session.ID, c Command) (*Work, error) {
	w, err := q.trySubmit(ctx, id, c)
	if c.Wake && session.CodeOf(err) == session.CodeInProgress {
		return nil, err // the session is already being woken
	}
	return w, q.reports.reportRefusal(ctx, OperationResult{Operation: string(c.Kind), Session: id, Forced: c.Force, StopReason: c.Reason}, err)
}

func (q *queue) trySubmit(ctx context.Context, id session.ID, c Command) (*Work, error) {
	w, joined, err := q.acquire(ctx, id, c)
	if err != nil || joined {
		return w, err
	}
	return q.submitLocked(ctx, w, c)
}

// submitLocked is submit for a caller that holds the session's lock. It releases the lock unless work is begun.
func (q *queue) submitLocked(ctx context.Context, w *Work, c Command) (*Work, error) {
	c.Actor = session.ActorOf(ctx)
	s, verdict, err := q.record(ctx, w.id, c)
	switch {
	case err != nil && q.stopUnrecorded(ctx, w, c, err):
		return w, nil
	case err != nil:
		q.release(w)
		return nil, err
	case verdict == Keep:
		q.release(w)
		return finished(s), nil
	case verdict == Preempt:
		w.handover = q.opts.Handover
	}
	w.forced = c.Force
	if isAutomatic(s) {
		w.automatic, w.then = true, q.restartAgain
	}
	q.launch(ctx, w, s)
	return w, nil
}

// record writes the record that a command results in, unless there is nothing to do (Keep).
func (q *queue) record(ctx context.Context, id session.ID, c Command) (session.Session, Verdict, error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	for {
		s, d, err := q.decide(ctx, id, Observation{}, c)
		if err != nil {
			return session.Session{}, "", err
		}
		switch d.Verdict {
		case Keep:
			return s, d.Verdict, nil
		case Refuse:
			return session.Session{}, d.Verdict, q.reports.countRejection(ctx, d.Refusal)
		}
		if s, err = q.store.Update(ctx, d.Next, q.maxSessions()); session.CodeOf(err) != session.CodeConflict {
			return s, d.Verdict, q.reports.countRejection(ctx, err)
		} // a token was rotated meanwhile
	}
}
