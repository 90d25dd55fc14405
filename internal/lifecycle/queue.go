package lifecycle

import (
	"context"
	"sync/atomic"

	"berth/internal/session"
)

// queue begins operations on sessions, one at a time for each session.
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

	limit        atomic.Int64  // of concurrent sessions; 0: none
	restartSlots chan struct{} // automatic restarts in progress
}

// decide applies the rules to a session's present record, a command and an observation, and sets the observation's Holder and
// Capacity.
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

// launch runs the work in a goroutine that outlives the request. The lock must be held and the operation recorded.
func (q *queue) launch(ctx context.Context, w *Work, s session.Session) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, stop := context.WithTimeout(ctx, q.rules.allowanceOf(s)+w.handover)
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
			q.soon.raise() // the engine has recovered meanwhile, and the reconciliation skipped this session as locked
		}
		if w.then != nil {
			w.then(context.WithoutCancel(ctx), w)
		}
	}()
}

// inTurn performs work. Automatic work first waits for a restart slot.
func (q *queue) inTurn(ctx context.Context, w *Work, s session.Session) (session.Session, error) {
	if w.automatic {
		select {
		case q.restartSlots <- struct{}{}:
			defer func() { <-q.restartSlots }()
		case <-ctx.Done(): // perform then ends at once
		}
	}
	return q.execute.perform(ctx, w, s)
}

// admit checks whether the host has capacity for one more session. Whether a slot is free is decided by the store.
//
// It applies to a create, and to a start, restart or wake of a session that occupies no slot. A session that occupies one has been
// admitted already: the restart of a running session, and an operation that another process takes over, need no further capacity.
// Refusing them would turn load on the host into failed sessions.
func (q *queue) admit(ctx context.Context) error {
	if q.opts.Admission == nil {
		return nil
	}
	return q.opts.Admission.Admit(ctx)
}

// maxSessions is how many sessions may be creating or running at once; 0: no limit.
func (q *queue) maxSessions() int { return int(q.limit.Load()) }
