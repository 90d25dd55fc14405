package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"
)

// perform does the work of an operation and records how it ended. Every step may be repeated: a process that takes an
// operation over begins again from the top.
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
	c, err := x.act(ctx, w, s) // the container as it is at the end; zero when it is gone or was not looked at
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errPreempted) || errors.Is(cause, errTakenOver) || errors.Is(cause, errShutdown)) {
		return s, x.cutShort(ctx, kind, s, cause)
	}
	if errors.Is(err, errTakenOver) {
		return s, x.cutShort(ctx, kind, s, errTakenOver)
	}
	away, err := x.attributeToEngine(ctx, kind, stream, err)
	if away || w.automatic && session.CodeOf(err) == session.CodeEngineUnavailable {
		// It says nothing about the session: the comparison after the engine's return takes it up.
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
		if !w.automatic && !known && s.Status == session.Error { // else it is being tried again, or given up
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

// act does the work of an operation and returns the container that it has brought up.
func (x *executor) act(ctx context.Context, w *Work, s session.Session) (session.Container, error) {
	if w.automatic {
		// An engine that is stopping still starts containers, only to end them.
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
	case opReconcile: // is never recorded, so never performed
	}
	return session.Container{}, nil
}

// outageUndoTime bounds what is undone on an engine that has just failed to answer.
const outageUndoTime = 10 * time.Second

// undo leaves nothing running after a failure, and no container after a failed create; volumes are removed by a delete
// alone. It works when the operation's own time is up. What cannot be undone now stays attached to the record and is found
// by the reconciler, and so does everything when the store cannot say whose operation it is. It returns errTakenOver when
// the operation is another's, and errShutdown when the end of the process cut it short.
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

// causes is why a session is in error when an operation has failed.
var causes = map[session.Kind]Cause{session.OpCreate: CauseStart, session.OpStart: CauseStart, session.OpRestart: CauseStart}

// conclude records the end of an operation. A store that is away is asked again until the operation's deadline, after
// which the reconciler takes over. It returns errTakenOver when the operation is no longer ours to end, and whether a failure
// is one that is known already, since the same has happened before.
func (x *executor) conclude(ctx context.Context, w *Work, s session.Session, c session.Container, failure error) (_ session.Session, known bool, _ error) {
	kind := w.kind
	if kind == session.OpDelete && failure == nil {
		return s, false, nil // there is no record any more
	}
	if failure != nil {
		c.Address = ""
	}
	x.locks.conclude(w)
	x.routes.setAddress(s.ID, c.Address)
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

// deleteSession removes the container, its volumes and, last, the record: what is still there is always recorded.
func (x *executor) deleteSession(ctx context.Context, s session.Session) error {
	if err := x.records.holds(ctx, s); err != nil {
		return err
	}
	x.routes.setAddress(s.ID, "")
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
