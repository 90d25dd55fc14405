package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"berth/internal/session"
)

// stopUnrecorded stops a session's container although the stop cannot be recorded: the session itself may be the reason why the
// store cannot be written, for example by filling the disk. It uses the lock that w holds. Its Work ends when the container is
// stopped, with an error that names what is not recorded yet, and the lock is held until the stop is recorded, so that nothing
// restarts the session meanwhile. It reports false unless c is a requested stop, the session can be read, and no operation is in
// progress on it.
func (q *queue) stopUnrecorded(ctx context.Context, w *Work, c Command, cause error) bool {
	if c.Kind != session.OpStop || c.Reason != "" || session.CodeOf(cause) != session.CodeStoreUnavailable {
		return false
	}
	s, err := q.store.Get(ctx, w.id)
	if err != nil || !slices.Contains(startable[session.OpStop], s.Status) || q.holder(s) == HeldByOther {
		return false
	}
	s = s.Clone()
	s.Operation = q.rules.operation(session.OpStop, q.opts.now())
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	w.forced = c.Force
	q.locks.begin(w, s, cancel)
	go func() {
		defer q.locks.done()
		defer cancel(nil)
		w.result, w.err = s, q.performUnrecorded(ctx, s, c, cause)
		close(w.done)
		if session.CodeOf(w.err) == session.CodeStoreUnavailable {
			q.locks.addUnrecordedStop(unrecordedStop{s, session.ActorOf(ctx)})
			q.recordStopped(ctx, s)
		}
		q.locks.end(w.id)
	}()
	return true
}

// release releases a lock for which no work was launched. It resumes an unrecorded stop that was preempted for that.
func (q *queue) release(w *Work) {
	again, stop := q.locks.release(w)
	if again == nil {
		return
	}
	s := stop.session
	ctx, cancel := context.WithCancelCause(session.WithActor(q.opts.Tracer.Start(context.Background()), stop.by))
	again.result = s
	again.err = session.Errorf(session.CodeStoreUnavailable, "session %s is stopped, but that could not be recorded yet; it is recorded when the store can be written", s.ID)
	q.locks.begin(again, s, cancel)
	close(again.done)
	go func() {
		defer q.locks.done()
		defer cancel(nil)
		q.recordStopped(ctx, s)
		q.locks.end(s.ID)
	}()
}

func (q *queue) performUnrecorded(ctx context.Context, s session.Session, c Command, cause error) error {
	begun := time.Now()
	within, cancel := context.WithTimeout(ctx, q.rules.allowance(session.OpStop))
	defer cancel()
	q.opts.Logger.WarnContext(ctx, "store cannot be written; stopping the session without a record", "session_id", s.ID, "error", cause)
	q.routes.setPlace(s.ID, place{})
	q.routes.publish(s)
	err := q.runtime.Stop(within, s.ContainerName, q.opts.StopTimeout)
	if err == nil || session.CodeOf(err) == session.CodeNotFound {
		err = session.Errorf(session.CodeStoreUnavailable, "session %s is stopped, but that could not be recorded: %s; it is recorded when the store can be written, "+
			"and lost if Berth ends before", s.ID, session.MessageOf(cause)).Because(cause)
	}
	q.reports.reportResult(ctx, OperationResult{Operation: string(session.OpStop), Session: s.ID, Outcome: session.CodeOf(err), Duration: time.Since(begun), Forced: c.Force})
	return err
}

// recordStopped records that a session was stopped, and retries until the store can be written. It does nothing if the session has
// changed since. If ctx ends first, the stop stays unrecorded.
func (q *queue) recordStopped(ctx context.Context, s session.Session) {
	for {
		_, err := q.records.change(ctx, s.ID, func(now *session.Session) error {
			if !now.CreatedAt.Equal(s.CreatedAt) || q.holder(*now) == HeldByOther {
				return errTakenOver
			}
			now.Operation, now.Port, now.Status, now.LastError = nil, 0, session.Stopped, ""
			now.RestartCount, now.StopReason = 0, ""
			q.reports.appendEvent(ctx, now, session.EventStopped, "")
			return nil
		})
		switch {
		case err == nil:
			q.locks.removeUnrecordedStop(s.ID)
			q.opts.Logger.InfoContext(ctx, "stop recorded", "session_id", s.ID)
			return
		case errors.Is(err, errTakenOver) || session.CodeOf(err) != session.CodeStoreUnavailable:
			if ctx.Err() == nil {
				q.locks.removeUnrecordedStop(s.ID)
			}
			q.opts.Logger.WarnContext(ctx, "stop not recorded", "session_id", s.ID, "error", err)
			return
		}
		if pause(ctx, time.Second) != nil {
			return
		}
	}
}
