package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"
)

// executor carries out recorded operations, and records their outcome. It does not depend on the callers that wait for that.
type executor struct {
	store     session.Store
	runtime   session.Runtime
	opts      Options
	rules     Rules
	reports   *reporter
	health    *healthRecords
	routes    *publisher
	records   *recorder
	locks     *sessionLocks
	make      *containers
	retries   *retries
	unlocated *worklist

	onHalt func(func()) (stop func() bool) // as context.AfterFunc, for the shutdown of the process
}

// cutShort returns the error of an operation that is interrupted. It stays recorded for its successor or the next process.
func (x *executor) cutShort(ctx context.Context, kind session.Kind, s session.Session, cause error) error {
	x.opts.Logger.InfoContext(ctx, "operation interrupted", "session_id", s.ID, "operation", kind, "reason", cause)
	return session.Errorf(session.CodeCanceled, "the %s of session %s was interrupted: %s", kind, s.ID, cause)
}

// stopContainer stops the session's container, if there is one. It does so even if the store cannot confirm that this process owns
// the operation, because a stop loses no data.
func (x *executor) stopContainer(ctx context.Context, s session.Session) error {
	if err := x.records.holds(ctx, s); errors.Is(err, errTakenOver) {
		return err
	}
	x.routes.setPlace(s.ID, place{})
	x.routes.publish(s)
	err := x.runtime.Stop(ctx, s.ContainerName, x.opts.StopTimeout)
	if session.CodeOf(err) == session.CodeNotFound {
		return nil
	}
	return err
}

// cleanupContext returns a context for clean-up after an operation's own context has ended. The shutdown of the process cancels it.
func (x *executor) cleanupContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.opts.StopTimeout+time.Minute)
	stop := x.onHalt(cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// attributeToEngine reports whether the engine was unavailable or stopping during a start, and then returns the failure as one of
// the engine: while stopping it stops containers, and breaks calls, in ways that look like failures of the session. begun is the
// event stream at the begin of the start.
func (x *executor) attributeToEngine(ctx context.Context, kind session.Kind, begun eventStream, failure error) (away bool, _ error) {
	if failure == nil || !kind.BringsUp() {
		return false, failure
	}
	switch session.CodeOf(failure) {
	case session.CodeEngineUnavailable, session.CodeStartFailed, session.CodeInternal, session.CodeNotFound, session.CodePortTaken, session.CodeNotRunning:
	default: // codes that an engine outage does not cause
		return false, failure
	}
	ctx, cancel := x.cleanupContext(ctx)
	defer cancel()
	ask, end := context.WithTimeout(ctx, x.opts.Health.Timeout)
	defer end()
	if x.runtime.Ping(ask) == nil && !begun.hasChanged(x.health.stream()) && (!begun.isInterrupted() || x.health.lacksEvents()) {
		return false, failure
	}
	if session.CodeOf(failure) == session.CodeEngineUnavailable {
		return true, failure
	}
	return true, session.Errorf(session.CodeEngineUnavailable, "the engine was stopped or restarted meanwhile; the %s continues when it has recovered", kind).Because(failure)
}

// awaitEngine records that an operation is resumed after the engine has recovered, without counting as a restart.
func (x *executor) awaitEngine(ctx context.Context, s session.Session) error {
	if s.Operation.Kind == session.OpCreate || s.Operation.Kind == session.OpStart && s.StopReason == session.StopEngine {
		return nil // recorded as such already
	}
	x.routes.setPlace(s.ID, place{})
	x.health.uncharge(s.ID)
	_, err := x.records.change(ctx, s.ID, func(now *session.Session) error {
		if !isSame(*now, s) {
			return errChanged
		}
		*now = x.rules.AwaitEngine(*now, session.ActorOf(ctx), x.opts.now())
		return nil
	})
	return ignoreChanged(err)
}

// endRetries logs and reports that an operation has succeeded after failures.
func (x *executor) endRetries(ctx context.Context, kind session.Kind, s session.Session) {
	was := x.retries.clear(s.ID)
	if was.kind != kind {
		return
	}
	x.opts.Logger.InfoContext(ctx, "operation succeeded after failures", "session_id", s.ID, "operation", kind,
		"failures", was.failures, "since", was.since)
	what := session.EventStopped
	if kind == session.OpDelete {
		what = session.EventDeleted
	}
	x.reports.notify(ctx, s, what, "", fmt.Sprintf("the %s succeeded after %d failures since %s", kind, was.failures, was.since.Format(time.RFC3339)))
}
