package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"

	"berth/internal/session"
)

const (
	// maxConcurrentRestarts bounds automatic restarts, so that an engine that has restarted with all containers down is not overloaded.
	maxConcurrentRestarts = 4
)

// handleFailure decides about a session of which the container has exited or the server does not work, and carries that out. It does
// nothing while work on the session is in progress. The caller must not hold the session's lock.
func (q *queue) handleFailure(ctx context.Context, id session.ID, seen Observation) error {
	at, err := q.locks.acquire(id, opReconcile)
	if err != nil {
		return nil //nolint:nilerr // work is in progress, or the process is stopping
	}
	return q.handleFailureLocked(ctx, at.Work, seen)
}

// handleFailureLocked is handleFailure for a caller that holds the session's lock. It releases the lock unless work is begun.
func (q *queue) handleFailureLocked(ctx context.Context, w *Work, seen Observation) error {
	stream := q.health.stream()
	s, verdict, err := q.recordFailure(ctx, w.id, seen)
	if err != nil || s.Operation == nil {
		q.release(w)
	}
	if err != nil {
		return ignoreNotFound(err)
	}
	why := seen.Diagnosis
	switch verdict {
	case Restart:
		if q.health.charge(s.ID, stream) {
			defer func() { q.reports.logFailure(ctx, s.ID, q.refund(ctx, s.ID)) }()
		}
		w.automatic, w.then, w.handover = true, q.restartAgain, s.Operation.Deadline.Add(-q.rules.allowance(session.OpRestart)).Sub(q.opts.now())
		q.opts.Logger.WarnContext(ctx, "session is being restarted", "session_id", s.ID, "reason", s.LastError, "restart", s.RestartCount,
			"of", q.rules.MaxRestarts, "after", w.handover)
		q.reports.notify(ctx, s, session.EventUnhealthy, why.cause(), s.LastError)
	case Recover:
		if s.Operation == nil {
			return nil
		}
		w.automatic, w.then, w.handover = true, q.restartAgain, rand.N(startSpread) //nolint:gosec // not a secret
		q.opts.Logger.InfoContext(ctx, "session was stopped by the engine and is started again", "session_id", s.ID)
	case Fail:
		if q.rules.Restarts {
			q.opts.Logger.ErrorContext(ctx, "session failed, no restarts left", "session_id", s.ID, "reason", why.Failure.Message, "restarts", s.RestartCount)
			q.reports.notify(ctx, s, session.EventFailed, why.Cause, s.LastError)
		}
		return nil
	default:
		return nil
	}
	q.launch(ctx, w, s)
	return nil
}

// recordFailure writes the record of the decision, if it has one.
func (q *queue) recordFailure(ctx context.Context, id session.ID, seen Observation) (session.Session, Verdict, error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	for {
		s, d, err := q.decide(ctx, id, seen, Command{})
		if err != nil {
			return session.Session{}, "", err
		}
		max := session.Unlimited
		switch d.Verdict {
		case Restart:
			max = q.maxSessions()
		case Fail, Recover:
		default: // the session has changed meanwhile
			return session.Session{}, Keep, nil
		}
		if !s.Status.CanBecome(d.Next.Status) {
			return session.Session{}, "", fmt.Errorf("session %s cannot move from %s to %s", id, s.Status, d.Next.Status)
		}
		if d.Verdict != Restart {
			q.routes.setPlace(id, place{})
		}
		mark := q.routes.mark()
		s, err = q.store.Update(ctx, d.Next, max)
		if session.CodeOf(err) == session.CodeConflict { // changed meanwhile
			continue
		}
		if err == nil {
			q.routes.publishSince(mark, s)
		}
		return s, d.Verdict, err
	}
}

// restartAgain continues after an automatic restart that has failed. It does nothing while the engine is unavailable: the restart is
// still recorded, and the reconciliation after the engine has recovered resumes it.
func (q *queue) restartAgain(ctx context.Context, w *Work) {
	switch session.CodeOf(w.err) {
	case "", session.CodeCanceled, session.CodeEngineUnavailable, session.CodeStoreUnavailable, session.CodeShuttingDown:
		return
	}
	why := Diagnosis{Cause: CauseStart, Failure: session.Errorf(session.CodeOf(w.err), "%s", session.MessageOf(w.err))}
	q.reports.logFailure(ctx, w.id, q.handleFailure(ctx, w.id, Observation{Container: Down, Diagnosis: &why}))
}

// refund uncounts the last restart of a session: its server was stopped by an engine that was stopping. A restart that is still
// delayed begins at once.
func (q *queue) refund(ctx context.Context, id session.ID) error {
	_, err := q.records.change(ctx, id, func(s *session.Session) error {
		switch {
		case s.RestartCount == 0 || s.Status == session.Stopped:
			return errChanged
		case s.Operation != nil && s.Operation.Kind == session.OpRestart:
			s.StopReason, s.LastError = session.StopEngine, engineStoppedReason
			q.reports.appendEvent(ctx, s, session.EventStopped, engineStoppedReason)
		}
		s.RestartCount--
		return nil
	})
	if err == nil {
		q.locks.skipDelay(id)
	}
	return ignoreChanged(err)
}
