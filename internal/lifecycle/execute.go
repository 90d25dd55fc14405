package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"
)

// perform does the work of an operation and records its outcome. Every step can be repeated: a process that takes an operation
// over begins with the first one.
func (x *executor) perform(ctx context.Context, w *Work, s session.Session) (_ session.Session, err error) {
	kind, begun := w.kind, time.Now()
	if kind == session.OpUpgrade {
		return x.performUpgrade(ctx, w, s)
	}
	defer func() {
		x.reports.reportResult(ctx, OperationResult{
			Operation: string(kind), Session: s.ID, Outcome: session.CodeOf(err), Duration: time.Since(begun), Automatic: w.automatic, Forced: w.forced, StopReason: w.begun.StopReason,
		})
	}()
	stream := x.health.stream()
	c, err := x.act(ctx, w, s) // the container at the end; zero if it does not exist or was not inspected
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errPreempted) || errors.Is(cause, errTakenOver) || errors.Is(cause, errShutdown)) {
		return s, x.cutShort(ctx, kind, s, cause)
	}
	if errors.Is(err, errTakenOver) {
		return s, x.cutShort(ctx, kind, s, errTakenOver)
	}
	away, err := x.attributeToEngine(ctx, kind, stream, err)
	if away || w.automatic && session.CodeOf(err) == session.CodeEngineUnavailable {
		// Not a failure of the session: the reconciliation after the engine has recovered resumes the operation.
		x.opts.Logger.WarnContext(ctx, "operation waits for the engine", "session_id", s.ID, "operation", kind, "error", err)
		x.reports.logFailure(ctx, s.ID, x.awaitEngine(ctx, s))
		return s, err
	}
	if err != nil {
		if left := x.undo(ctx, kind, s, err); left != nil {
			return s, x.cutShort(ctx, kind, s, left)
		}
		if kind == session.OpCreate {
			c = session.Container{}
		}
	}
	s, known, err := x.conclude(ctx, w, s, c, err)
	if errors.Is(err, errTakenOver) {
		return s, x.cutShort(ctx, kind, s, errTakenOver)
	}
	took := float64(time.Since(begun).Microseconds()) / 1000
	if err != nil {
		if !w.automatic && !known && s.Status == session.Error { // otherwise the next attempt, or the final failure, is reported
			x.reports.notify(ctx, s, session.EventFailed, causes[kind], s.LastError)
		}
		x.opts.Logger.WarnContext(ctx, "operation failed", "session_id", s.ID, "operation", kind, "duration_ms", took,
			"code", session.CodeOf(err), "error", err)
		return s, err
	}
	if kind.BringsUp() {
		x.health.noteRunning(s.ID, stream, begun)
	}
	if w.automatic && kind == session.OpRestart {
		x.reports.notify(ctx, s, session.EventRestarted, "", "")
	}
	x.endRetries(ctx, kind, s)
	x.opts.Logger.InfoContext(ctx, "operation done", "session_id", s.ID, "operation", kind, "duration_ms", took)
	return s, nil
}

// act does the work of an operation and returns the container that it has started.
func (x *executor) act(ctx context.Context, w *Work, s session.Session) (session.Container, error) {
	if w.automatic {
		// An engine that is stopping still starts containers, and stops them at once.
		if err := x.runtime.Ping(ctx); err != nil {
			return session.Container{}, err
		}
	}
	switch w.kind {
	case session.OpCreate, session.OpStart:
		return x.make.bringUp(ctx, s)
	case session.OpRestart:
		if err := x.stopContainer(ctx, s); err != nil {
			return session.Container{}, err
		}
		return x.make.bringUp(ctx, s)
	case session.OpStop:
		return session.Container{}, x.stopContainer(ctx, s)
	case session.OpDelete:
		return session.Container{}, x.deleteSession(ctx, s)
	case session.OpUpgrade: // has steps of its own
	case opReconcile: // never recorded, so never performed
	}
	return session.Container{}, nil
}

// outageUndoTime bounds the undo on an engine that has just failed to answer.
const outageUndoTime = 10 * time.Second

// undo stops the container after a failure, and removes it after a failed create; volumes are removed by a delete alone. It has a
// time-out of its own. What cannot be undone now, or if the store cannot confirm that this process owns the operation, stays
// recorded and is left to the reconciler. It returns errTakenOver if another process owns the operation, and errShutdown if the
// shutdown of this process interrupted it.
func (x *executor) undo(ctx context.Context, kind session.Kind, s session.Session, failure error) error {
	if !kind.BringsUp() {
		return nil
	}
	ctx, cancel := x.cleanupContext(ctx)
	defer cancel()
	brief, end := context.WithTimeout(ctx, outageUndoTime)
	defer end()
	if session.CodeOf(failure) == session.CodeEngineUnavailable {
		ctx = brief
	}
	err := x.records.holds(ctx, s)
	if err == nil {
		err = x.runtime.Ping(brief)
	}
	switch {
	case errors.Is(err, errTakenOver):
		return err
	case err != nil:
	case kind == session.OpCreate:
		err = x.runtime.Remove(ctx, s.ContainerName, true)
	default:
		err = x.runtime.Stop(ctx, s.ContainerName, x.opts.StopTimeout)
	}
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		x.opts.Logger.WarnContext(ctx, "clean-up after a failed operation is incomplete; the reconciler retries",
			"session_id", s.ID, "operation", kind, "error", err)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return errShutdown
	}
	return nil
}

// causes maps an operation that failed to the cause that is reported.
var causes = map[session.Kind]Cause{session.OpCreate: CauseStart, session.OpStart: CauseStart, session.OpRestart: CauseStart}

// conclude records the end of an operation. While the store is unavailable it retries until the operation's deadline, after which
// the reconciler takes over. It returns errTakenOver if another process owns the operation by now. known reports whether the
// same failure has been recorded before.
func (x *executor) conclude(ctx context.Context, w *Work, s session.Session, c session.Container, failure error) (_ session.Session, known bool, _ error) {
	kind := w.kind
	if kind == session.OpDelete && failure == nil {
		return s, false, nil // the record has been removed
	}
	if failure != nil {
		c.Address = ""
	}
	x.locks.conclude(w)
	x.routes.setPlace(s.ID, placeOf(c))
	ctx, cancel := x.cleanupContext(ctx)
	defer cancel()
	var again time.Time
	if failure != nil && !kind.BringsUp() {
		again = x.retries.add(s.ID, kind, session.CodeOf(failure), x.opts.now())
	}
	for {
		done, err := x.records.change(ctx, s.ID, func(now *session.Session) error {
			if !isSame(*now, s) {
				return errTakenOver
			}
			*now, known = x.rules.Conclude(*now, Result{Container: c, Failure: failure, Actor: session.ActorOf(ctx), RetryAt: again}, x.opts.now())
			return nil
		})
		if err == nil {
			return done, known, failure
		}
		if errors.Is(err, errTakenOver) {
			x.unlocated.add(s.ID)
			return s, false, err
		}
		if session.CodeOf(err) != session.CodeStoreUnavailable {
			return s, false, errors.Join(failure, fmt.Errorf("record the end of %s: %w", kind, err))
		}
		x.opts.Logger.WarnContext(ctx, "store unavailable, retrying", "session_id", s.ID, "operation", kind, "error", err)
		if pause(ctx, time.Second) != nil {
			return s, false, errors.Join(failure, err)
		}
	}
}

// deleteSession removes the container, then its volumes, then the record, so that what still exists always has a record.
func (x *executor) deleteSession(ctx context.Context, s session.Session) error {
	if err := x.records.holds(ctx, s); err != nil {
		return err
	}
	x.routes.setPlace(s.ID, place{})
	x.routes.publish(s)
	if err := x.runtime.Remove(ctx, s.ContainerName, true); err != nil {
		return err
	}
	if err := x.records.holds(ctx, s); err != nil {
		return err
	}
	if err := x.runtime.RemoveVolumes(ctx, s.ContainerName); err != nil {
		return err
	}
	for {
		now, err := x.store.Get(ctx, s.ID)
		if err == nil && !isSame(now, s) {
			return errTakenOver
		}
		if err == nil {
			err = x.store.Delete(ctx, s.ID, now.Revision)
		}
		switch session.CodeOf(err) {
		case "", session.CodeNotFound:
			x.endRetries(ctx, session.OpDelete, s)
			x.routes.unpublish(s.ID)
			return nil
		case session.CodeConflict: // a token was rotated meanwhile
		default:
			return err
		}
	}
}
