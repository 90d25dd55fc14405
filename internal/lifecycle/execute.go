package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"
)

// OperationResult is how an operation went, or that it was refused.
type OperationResult struct {
	Operation  string       // the [Kind] of an operation, [OpRotateToken], [OpCancel] or [OpSweepTokens]
	Session    session.ID   // empty: several
	Outcome    session.Code // "": it succeeded; [CodeCanceled]: it was cut short
	Duration   time.Duration
	Refused    bool               // it never began
	Automatic  bool               // a restart that nobody asked for
	Forced     bool               // in place of whatever was in progress
	StopReason session.StopReason // of a stop of Berth's own
}

// What is done to sessions beside operations.
const (
	OpRotateToken = "rotate_token"
	OpCancel      = "cancel"
	OpSweepTokens = "sweep_tokens"
)

// refuse tells of what was not begun, and returns why. That Berth itself comes too late for something is no refusal.
func (m *Manager) refuse(ctx context.Context, p OperationResult, err error) error {
	if err == nil {
		return nil
	}
	p.Refused, p.Outcome = true, session.CodeOf(err)
	late := p.Outcome == session.CodeInProgress || p.Outcome == session.CodeConflict || p.Outcome == session.CodeNotFound || p.Outcome == session.CodeCanceled
	if !late || session.ActorOf(ctx) != session.ActorBerth {
		m.observe(ctx, p)
	}
	return err
}

// perform does the work of an operation and records how it ended. Every step may be repeated: a process that takes an
// operation over begins again from the top.
func (m *Manager) perform(ctx context.Context, w *Work, s session.Session) (_ session.Session, err error) {
	kind, begun := w.kind, time.Now()
	if kind == session.OpUpgrade {
		return m.performUpgrade(ctx, w, s)
	}
	defer func() {
		m.observe(ctx, OperationResult{
			Operation: string(kind), Session: s.ID, Outcome: session.CodeOf(err), Duration: time.Since(begun), Automatic: w.automatic, Forced: w.forced, StopReason: w.begun.StopReason,
		})
	}()
	epoch, outages := m.monitor.currentEpoch(), m.monitor.outages()
	c, err := m.act(ctx, w, s) // the container as it is at the end; zero when it is gone or was not looked at
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errPreempted) || errors.Is(cause, errTakenOver) || errors.Is(cause, errShutdown)) {
		return s, m.cutShort(ctx, kind, s, cause)
	}
	if errors.Is(err, errTakenOver) {
		return s, m.cutShort(ctx, kind, s, errTakenOver)
	}
	away, err := m.blameEngine(ctx, kind, outages, err)
	if away || w.automatic && session.CodeOf(err) == session.CodeEngineUnavailable {
		// It says nothing about the session: the comparison after the engine's return takes it up.
		m.opts.Logger.WarnContext(ctx, "operation waits for the engine", "session_id", s.ID, "operation", kind, "error", err)
		m.report(ctx, s.ID, m.awaitEngine(ctx, s))
		return s, err
	}
	if err != nil {
		if left := m.undo(ctx, kind, s, err); left != nil {
			return s, m.cutShort(ctx, kind, s, left)
		}
		if kind == session.OpCreate {
			c = session.Container{}
		}
	}
	s, known, err := m.conclude(ctx, w, s, c, err)
	if errors.Is(err, errTakenOver) {
		return s, m.cutShort(ctx, kind, s, errTakenOver)
	}
	took := float64(time.Since(begun).Microseconds()) / 1000
	if err != nil {
		if !w.automatic && !known && s.Status == session.Error { // else it is being tried again, or given up
			m.notify(ctx, s, session.EventFailed, causes[kind], s.LastError)
		}
		m.opts.Logger.WarnContext(ctx, "operation failed", "session_id", s.ID, "operation", kind, "duration_ms", took,
			"code", session.CodeOf(err), "error", err)
		return s, err
	}
	if kind.BringsUp() {
		m.seenUp(s.ID, epoch, begun)
	}
	if w.automatic && kind == session.OpRestart {
		m.notify(ctx, s, session.EventRestarted, "", "")
	}
	m.endRetries(ctx, kind, s)
	m.opts.Logger.InfoContext(ctx, "operation done", "session_id", s.ID, "operation", kind, "duration_ms", took)
	return s, nil
}

// cutShort leaves an operation as it is recorded, for the one that takes its place or the next process.
func (m *Manager) cutShort(ctx context.Context, kind session.Kind, s session.Session, cause error) error {
	m.opts.Logger.InfoContext(ctx, "operation cut short", "session_id", s.ID, "operation", kind, "reason", cause)
	return session.Errorf(session.CodeCanceled, "the %s of session %s was cut short: %s", kind, s.ID, cause)
}

// act does the work of an operation and returns the container that it has brought up.
func (m *Manager) act(ctx context.Context, w *Work, s session.Session) (session.Container, error) {
	if w.automatic {
		// An engine that is stopping still starts containers, only to end them.
		if err := m.runtime.Ping(ctx); err != nil {
			return session.Container{}, err
		}
	}
	switch w.kind {
	case session.OpCreate, session.OpStart:
		return m.bringUp(ctx, s)
	case session.OpRestart:
		if err := m.takeDown(ctx, s); err != nil {
			return session.Container{}, err
		}
		return m.bringUp(ctx, s)
	case session.OpStop:
		return session.Container{}, m.takeDown(ctx, s)
	case session.OpDelete:
		return session.Container{}, m.destroy(ctx, s)
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
func (m *Manager) undo(ctx context.Context, kind session.Kind, s session.Session, failure error) error {
	if !kind.BringsUp() {
		return nil
	}
	ctx, cancel := m.outlive(ctx)
	defer cancel()
	brief, end := context.WithTimeout(ctx, outageUndoTime)
	defer end()
	if session.CodeOf(failure) == session.CodeEngineUnavailable {
		ctx = brief
	}
	err := m.holds(ctx, s)
	if err == nil {
		err = m.runtime.Ping(brief)
	}
	switch {
	case errors.Is(err, errTakenOver):
		return err
	case err != nil:
	case kind == session.OpCreate:
		err = m.runtime.Remove(ctx, s.ContainerName, true)
	default:
		err = m.runtime.Stop(ctx, s.ContainerName, m.opts.StopTimeout)
	}
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		m.opts.Logger.WarnContext(ctx, "clean-up after a failed operation left something behind; the reconciler will see to it",
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
func (m *Manager) conclude(ctx context.Context, w *Work, s session.Session, c session.Container, failure error) (_ session.Session, known bool, _ error) {
	kind := w.kind
	if kind == session.OpDelete && failure == nil {
		return s, false, nil // there is no record any more
	}
	if failure != nil {
		c.Address = ""
	}
	m.mu.Lock()
	w.concluding = true
	m.mu.Unlock()
	m.locate(s.ID, c.Address)
	ctx, cancel := m.outlive(ctx)
	defer cancel()
	var again time.Time
	if failure != nil && !kind.BringsUp() {
		again = m.retries.failed(s.ID, kind, session.CodeOf(failure), m.now())
	}
	for {
		done, err := m.change(ctx, s.ID, func(now *session.Session) error {
			if !now.IsSame(s) {
				return errTakenOver
			}
			*now, known = m.rules.Conclude(*now, Result{Container: c, Failure: failure, Actor: session.ActorOf(ctx), RetryAt: again}, m.now())
			return nil
		})
		if err == nil {
			return done, known, failure
		}
		if errors.Is(err, errTakenOver) {
			m.unlocated.add(s.ID)
			return s, false, err
		}
		if session.CodeOf(err) != session.CodeStoreUnavailable {
			return s, false, errors.Join(failure, fmt.Errorf("record the end of %s: %w", kind, err))
		}
		m.opts.Logger.WarnContext(ctx, "the store is away, trying again", "session_id", s.ID, "operation", kind, "error", err)
		if pause(ctx, time.Second) != nil {
			return s, false, errors.Join(failure, err)
		}
	}
}

// outlive gives a context for what has to be done although an operation's own time is up. The end of the process cuts
// it short.
func (m *Manager) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.opts.StopTimeout+time.Minute)
	stop := m.onHalt(cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// takeDown stops the session's container, if there is one. A store that cannot say whose operation it is does not keep it
// from that: a stop loses nothing.
func (m *Manager) takeDown(ctx context.Context, s session.Session) error {
	if err := m.holds(ctx, s); errors.Is(err, errTakenOver) {
		return err
	}
	m.locate(s.ID, "")
	m.publish(s)
	err := m.runtime.Stop(ctx, s.ContainerName, m.opts.StopTimeout)
	if session.CodeOf(err) == session.CodeNotFound {
		return nil
	}
	return err
}

// destroy removes the container, its volumes and, last, the record: what is still there is always recorded.
func (m *Manager) destroy(ctx context.Context, s session.Session) error {
	if err := m.holds(ctx, s); err != nil {
		return err
	}
	m.locate(s.ID, "")
	m.publish(s)
	if err := m.runtime.Remove(ctx, s.ContainerName, true); err != nil {
		return err
	}
	if err := m.holds(ctx, s); err != nil {
		return err
	}
	if err := m.runtime.RemoveVolumes(ctx, s.ContainerName); err != nil {
		return err
	}
	for {
		now, err := m.store.Get(ctx, s.ID)
		if err == nil && !now.IsSame(s) {
			return errTakenOver
		}
		if err == nil {
			err = m.store.Delete(ctx, s.ID, now.Revision)
		}
		switch session.CodeOf(err) {
		case "", session.CodeNotFound:
			m.endRetries(ctx, session.OpDelete, s)
			m.unpublish(s.ID)
			return nil
		case session.CodeConflict: // a token was rotated meanwhile
		default:
			return err
		}
	}
}

// pause waits, and returns the context's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
