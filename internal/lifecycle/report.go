package lifecycle

import (
	"context"

	"berth/internal/session"
)

// appendEvent is addEvent with the present time and the actor of ctx.
func (r *reporter) appendEvent(ctx context.Context, s *session.Session, what session.EventType, reason string) {
	addEvent(s, r.opts.now(), what, session.ActorOf(ctx), reason)
}

// reporter sends reports to the sink, and logs failed reconciliations.
type reporter struct{ opts Options }

func (r *reporter) emit(ctx context.Context, report Report) {
	if r.opts.Sink != nil {
		r.opts.Sink.Emit(ctx, report)
	}
}

// reportResult reports the result of an operation.
func (r *reporter) reportResult(ctx context.Context, p OperationResult) {
	r.emit(ctx, Report{Operation: &p})
}

// notify reports a notice.
func (r *reporter) notify(ctx context.Context, s session.Session, what session.EventType, cause Cause, reason string) {
	r.emit(ctx, Report{Notice: &Notice{At: r.opts.now(), Type: what, Session: s.ID, Owner: s.Owner, Cause: cause, Reason: reason, Restarts: s.RestartCount}})
}

// reportRefusal reports an operation that was refused, and returns err. An automatic operation that lost a race is not reported.
func (r *reporter) reportRefusal(ctx context.Context, p OperationResult, err error) error {
	if err == nil {
		return nil
	}
	p.Refused, p.Outcome = true, session.CodeOf(err)
	late := p.Outcome == session.CodeInProgress || p.Outcome == session.CodeConflict || p.Outcome == session.CodeNotFound || p.Outcome == session.CodeCanceled
	if !late || session.ActorOf(ctx) != session.ActorBerth {
		r.reportResult(ctx, p)
	}
	return err
}

// countRejection returns err, and reports it if it is a CodeLimit or CodePressure error.
func (r *reporter) countRejection(ctx context.Context, err error) error {
	if code := session.CodeOf(err); code == session.CodeLimit || code == session.CodePressure {
		r.emit(ctx, Report{Rejected: err})
	}
	return err
}

// logFailure logs a failed reconciliation; the next pass retries.
func (r *reporter) logFailure(ctx context.Context, id session.ID, err error) {
	if err != nil && ctx.Err() == nil {
		r.opts.Logger.ErrorContext(ctx, "session reconciliation failed", "session_id", id, "error", err)
	}
}
