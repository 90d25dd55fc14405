package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"berth/internal/session"
)

// stopUnrecorded stops a session at the engine although the stop cannot be recorded: whatever keeps the store from being
// written, such as a full disk, may be what the session does. It takes the place that is reserved by w, answers when the
// container is stopped, with an error that says what is still missing, and keeps the place until that is recorded, so that
// nothing restarts the session meanwhile. It reports false for everything else than a stop that somebody asks for, of a
// session that can be read and that nobody works on.
func (m *Manager) stopUnrecorded(ctx context.Context, w *Work, c Command, cause error) bool {
	if c.Kind != session.OpStop || c.Reason != "" || session.CodeOf(cause) != session.CodeStoreUnavailable {
		return false
	}
	s, err := m.store.Get(ctx, w.id)
	if err != nil || !slices.Contains(startable[session.OpStop], s.Status) || m.holder(s) == HeldByOther {
		return false
	}
	s = s.Clone()
	s.Operation = m.rules.operation(session.OpStop, m.now())
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	m.mu.Lock()
	w.kind, w.begun, w.cancel, w.forced = session.OpStop, s, cancel, c.Force
	close(w.turned)
	switch {
	case w.preempted:
		cancel(errPreempted)
	case m.closed:
		cancel(errShutdown)
	}
	m.mu.Unlock()
	go func() {
		defer m.wg.Done()
		defer cancel(nil)
		w.result, w.err = s, m.performUnrecorded(ctx, s, c, cause)
		close(w.done)
		if session.CodeOf(w.err) == session.CodeStoreUnavailable {
			m.mu.Lock()
			m.unrecorded[w.id] = unrecordedStop{s, session.ActorOf(ctx)}
			m.mu.Unlock()
			m.recordStopped(ctx, s)
		}
		m.mu.Lock()
		delete(m.working, w.id)
		m.mu.Unlock()
	}()
	return true
}

// unrecordedStop is a stop that the store does not have yet.
type unrecordedStop struct {
	session session.Session // as it was, with the stop as its operation
	by      string          // who asked for it
}

// resumeStopped takes a session's free place for a stop that made way for work which could not be recorded either. The caller
// holds m.mu.
func (m *Manager) resumeStopped(stop unrecordedStop) {
	s := stop.session
	ctx, cancel := context.WithCancelCause(session.WithActor(m.opts.Background(context.Background()), stop.by))
	w := newWork(s.ID, session.OpStop)
	w.begun, w.result, w.cancel = s, s, cancel
	w.err = session.Errorf(session.CodeStoreUnavailable, "session %s is stopped, but that could not be recorded yet; it is recorded when the store can be written", s.ID)
	close(w.turned)
	close(w.done)
	m.working[s.ID] = w
	m.wg.Go(func() {
		defer cancel(nil)
		m.recordStopped(ctx, s)
		m.mu.Lock()
		delete(m.working, s.ID)
		m.mu.Unlock()
	})
}

func (m *Manager) performUnrecorded(ctx context.Context, s session.Session, c Command, cause error) error {
	begun := time.Now()
	within, cancel := context.WithTimeout(ctx, m.rules.allowance(session.OpStop))
	defer cancel()
	m.opts.Logger.WarnContext(ctx, "the store cannot be written; the session is stopped all the same", "session_id", s.ID, "error", cause)
	m.locate(s.ID, "")
	m.publish(s)
	err := m.runtime.Stop(within, s.ContainerName, m.opts.StopTimeout)
	if err == nil || session.CodeOf(err) == session.CodeNotFound {
		err = session.Errorf(session.CodeStoreUnavailable, "session %s is stopped, but that could not be recorded: %s; it is recorded when the store can be written, "+
			"and lost if Berth ends before", s.ID, session.MessageOf(cause)).Because(cause)
	}
	m.observe(ctx, OperationResult{Operation: string(session.OpStop), Session: s.ID, Outcome: session.CodeOf(err), Duration: time.Since(begun), Forced: c.Force})
	return err
}

// recordStopped records that a session was stopped, as soon as that can be done, unless something else has been done to it.
// When ctx ends before, it is still to be recorded.
func (m *Manager) recordStopped(ctx context.Context, s session.Session) {
	settled := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.unrecorded, s.ID)
	}
	for {
		_, err := m.change(ctx, s.ID, func(now *session.Session) error {
			if !now.CreatedAt.Equal(s.CreatedAt) || m.holder(*now) == HeldByOther {
				return errTakenOver
			}
			now.Operation, now.Port, now.Status, now.LastError = nil, 0, session.Stopped, ""
			now.RestartCount, now.StopReason = 0, ""
			m.appendEvent(ctx, now, session.EventStopped, "")
			return nil
		})
		switch {
		case err == nil:
			settled()
			m.opts.Logger.InfoContext(ctx, "stop recorded", "session_id", s.ID)
			return
		case errors.Is(err, errTakenOver) || session.CodeOf(err) != session.CodeStoreUnavailable:
			if ctx.Err() == nil {
				settled()
			}
			m.opts.Logger.WarnContext(ctx, "stop not recorded", "session_id", s.ID, "error", err)
			return
		}
		if pause(ctx, time.Second) != nil {
			return
		}
	}
}
