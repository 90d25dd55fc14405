package lifecycle

import (
	"context"
	"slices"
	"time"

	"berth/internal/session"
)

// maxEvents is how many milestones of a session are kept.
const maxEvents = 25

// addEvent adds what happens to the timeline of a session that is about to be recorded.
func addEvent(s *session.Session, now time.Time, what session.EventType, by, reason string) {
	timeline := slices.Clone(s.Timeline)
	if extra := len(timeline) + 1 - maxEvents; extra > 0 {
		timeline = timeline[extra:]
	}
	s.Timeline = append(timeline, session.Event{At: now, Type: what, By: by, Reason: reason})
}

// appendEvent is addEvent at this moment, for who acts in ctx.
func (r *reporter) appendEvent(ctx context.Context, s *session.Session, what session.EventType, reason string) {
	addEvent(s, r.opts.now(), what, session.ActorOf(ctx), reason)
}

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

// Notice is what operators want to hear of at once: a session that has failed, was restarted, or ran out of memory.
type Notice struct {
	At       time.Time         `json:"at"`
	Type     session.EventType `json:"event"` // [EventUnhealthy], [EventOutOfMemory], [EventRestarted] or [EventFailed]
	Session  session.ID        `json:"session_id"`
	Owner    string            `json:"owner,omitempty"`
	Cause    Cause             `json:"cause,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Restarts int               `json:"restart_count"`
}

// Report is one thing that the Manager tells of. One of its parts is set.
type Report struct {
	Operation *OperationResult // how something went that was done to a session, or that it was refused; ctx says for whom
	Notice    *Notice          // what operators want to know at once
	Rejected  error            // a CodeLimit or CodePressure error of a create, start or wake
	Swept     int              // how many digests of expired tokens were removed
}

// Sink takes every report: the audit trail, metrics and the webhook are fed from there. Emit must not wait.
type Sink interface {
	Emit(ctx context.Context, r Report)
}

// SinkFunc is a function that is a [Sink].
type SinkFunc func(ctx context.Context, r Report)

// Emit calls f.
func (f SinkFunc) Emit(ctx context.Context, r Report) { f(ctx, r) }

// reporter tells of what happens: to the sink, and to the log what could not be done.
type reporter struct{ opts Options }

func (r *reporter) emit(ctx context.Context, report Report) {
	if r.opts.Sink != nil {
		r.opts.Sink.Emit(ctx, report)
	}
}

// observe reports how something went.
func (r *reporter) observe(ctx context.Context, p OperationResult) {
	r.emit(ctx, Report{Operation: &p})
}

// notify reports what operators want to know at once.
func (r *reporter) notify(ctx context.Context, s session.Session, what session.EventType, cause Cause, reason string) {
	r.emit(ctx, Report{Notice: &Notice{At: r.opts.now(), Type: what, Session: s.ID, Owner: s.Owner, Cause: cause, Reason: reason, Restarts: s.RestartCount}})
}

// refuse tells of what was not begun, and returns why. That Berth itself comes too late for something is no refusal.
func (r *reporter) refuse(ctx context.Context, p OperationResult, err error) error {
	if err == nil {
		return nil
	}
	p.Refused, p.Outcome = true, session.CodeOf(err)
	late := p.Outcome == session.CodeInProgress || p.Outcome == session.CodeConflict || p.Outcome == session.CodeNotFound || p.Outcome == session.CodeCanceled
	if !late || session.ActorOf(ctx) != session.ActorBerth {
		r.observe(ctx, p)
	}
	return err
}

// refused passes an error on, and tells of it if it is a refusal for want of room.
func (r *reporter) refused(ctx context.Context, err error) error {
	if code := session.CodeOf(err); code == session.CodeLimit || code == session.CodePressure {
		r.emit(ctx, Report{Rejected: err})
	}
	return err
}

// report logs what could not be brought into agreement; the next pass tries again.
func (r *reporter) report(ctx context.Context, id session.ID, err error) {
	if err != nil && ctx.Err() == nil {
		r.opts.Logger.ErrorContext(ctx, "session and container could not be brought into agreement", "session_id", id, "error", err)
	}
}
