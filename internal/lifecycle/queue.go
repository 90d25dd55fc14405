package lifecycle

import (
	"context"
	"sync/atomic"

	"berth/internal/session"
)

// queue lets operations begin on sessions, one at a time for each.
type queue struct {
	store   session.Store
	runtime session.Runtime
	opts    Options
	rules   Rules
	reports *reporter
	health  *healthRecords
	routes  *publisher
	records *recorder
	locks   *sessionLocks
	execute *executor
	retries *retries
	foreign *foreignOperations
	soon    signal

	limit        atomic.Int64  // of sessions at once; 0: none
	restartSlots chan struct{} // automatic restarts in progress
}

// decide decides about a session as it is recorded now, when c is wanted and seen is what was found; its Holder and Capacity
// are filled in.
func (q *queue) decide(ctx context.Context, id session.ID, seen Observation, c Command) (session.Session, Decision, error) {
	s, err := q.store.Get(ctx, id)
	if err != nil {
		return session.Session{}, Decision{}, err
	}
	seen.Holder = q.holder(s)
	if c.Kind.BringsUp() && !s.Occupies() {
		seen.Capacity = q.admit(ctx)
	}
	return s, q.rules.Decide(s, seen, c, q.opts.now()), nil
}

// launch does the work in a goroutine that outlives the request. The lock must be held and the intent recorded.
func (q *queue) launch(ctx context.Context, w *Work, s session.Session) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, stop := context.WithTimeout(ctx, q.rules.allowance(s.Operation.Kind)+w.handover)
	q.locks.removeUnrecordedStop(w.id)
	q.locks.begin(w, s, cancel)
	q.routes.publish(s)
	go func() {
		defer q.locks.done()
		defer cancel(nil)
		defer stop()
		w.await(ctx)
		before := q.health.stream()
		w.result, w.err = q.inTurn(ctx, w, s)
		q.locks.end(w.id)
		close(w.done)
		if session.CodeOf(w.err) == session.CodeEngineUnavailable && before.hasReturned(q.health.stream()) {
			q.soon.raise() // the engine has returned, and what waits for that was passed over as being worked on
		}
		if w.then != nil {
			w.then(context.WithoutCancel(ctx), w)
		}
	}()
}

// inTurn performs work; automatic work waits for its turn.
func (q *queue) inTurn(ctx context.Context, w *Work, s session.Session) (session.Session, error) {
	if w.automatic {
		select {
		case q.restartSlots <- struct{}{}:
			defer func() { <-q.restartSlots }()
		case <-ctx.Done(): // which ends the work
		}
	}
	return q.execute.perform(ctx, w, s)
}

// admit asks whether one more session may begin to occupy a slot, beside whether a slot is free, which the store decides.
//
// It is asked of a create, and of a start, restart or wake of a session that occupies no slot. Whatever holds one has been
// admitted already: a running session that is restarted or healed, and an operation that another process takes up, only
// go on using what they were given. To refuse them would turn a busy host into lost sessions.
func (q *queue) admit(ctx context.Context) error {
	if q.opts.Admission == nil {
		return nil
	}
	return q.opts.Admission.Admit(ctx)
}

// maxSessions is how many sessions may be creating or running at once; 0: no limit.
func (q *queue) maxSessions() int { return int(q.limit.Load()) }
