package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"
)

// executor carries out what is recorded, and records how it ended. It knows nothing of who waits for that.
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

	onHalt func(func()) (stop func() bool) // as context.AfterFunc; the end of the process
}

// cutShort leaves an operation as it is recorded, for the one that takes its place or the next process.
func (x *executor) cutShort(ctx context.Context, kind session.Kind, s session.Session, cause error) error {
	x.opts.Logger.InfoContext(ctx, "operation cut short", "session_id", s.ID, "operation", kind, "reason", cause)
	return session.Errorf(session.CodeCanceled, "the %s of session %s was cut short: %s", kind, s.ID, cause)
}

// stopContainer stops the session's container, if there is one. A store that cannot say whose operation it is does not keep it
// from that: a stop loses nothing.
func (x *executor) stopContainer(ctx context.Context, s session.Session) error {
	if err := x.records.holds(ctx, s); errors.Is(err, errTakenOver) {
		return err
	}
	x.routes.setAddress(s.ID, "")
	x.routes.publish(s)
	err := x.runtime.Stop(ctx, s.ContainerName, x.opts.StopTimeout)
	if session.CodeOf(err) == session.CodeNotFound {
		return nil
	}
	return err
}

// cleanupContext gives a context for what has to be done although an operation's own time is up. The end of the process cuts
// it short.
func (x *executor) cleanupContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.opts.StopTimeout+time.Minute)
	stop := x.onHalt(cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// attributeToEngine reports whether the engine was unavailable or stopping during a start, and then returns the failure as one of
// the engine: it ends containers, and breaks calls, in ways that look like the session's own fault. begun is the event stream at the begin.
func (x *executor) attributeToEngine(ctx context.Context, kind session.Kind, begun eventStream, failure error) (away bool, _ error) {
	if failure == nil || !kind.BringsUp() {
		return false, failure
	}
	switch session.CodeOf(failure) {
	case session.CodeEngineUnavailable, session.CodeStartFailed, session.CodeInternal, session.CodeNotFound, session.CodePortTaken, session.CodeNotRunning:
	default: // what no engine's end looks like
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
	return true, session.Errorf(session.CodeEngineUnavailable, "the engine was stopped or restarted meanwhile; the %s goes on when it is back", kind).Because(failure)
}

// awaitEngine leaves an operation that met an engine that is not there for its return, as one that does not count.
func (x *executor) awaitEngine(ctx context.Context, s session.Session) error {
	if s.Operation.Kind == session.OpCreate || s.Operation.Kind == session.OpStart && s.StopReason == session.StopEngine {
		return nil // it is that already
	}
	x.routes.setAddress(s.ID, "")
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

// endRetries says of an operation that has succeeded that it had failed before.
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
