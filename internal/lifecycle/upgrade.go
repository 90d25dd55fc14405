package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"time"

	"berth/internal/session"
)

// performUpgrade does the work of an upgrade step by step and records its outcome.
func (x *executor) performUpgrade(ctx context.Context, w *Work, s session.Session) (_ session.Session, err error) {
	begun := time.Now()
	defer func() {
		x.reports.reportResult(ctx, OperationResult{Operation: string(session.OpUpgrade), Session: s.ID, Outcome: session.CodeOf(err), Duration: time.Since(begun), Forced: w.forced})
	}()
	for {
		if s.Upgrade == nil { // a session without an upgrade has no copy that could be missing
			s.Upgrade = &session.Upgrade{Step: session.StepReturn, Image: s.Image, ImageSource: s.ImageSource, Previous: s.Image}
		}
		var c session.Container
		var failure error
		stream := x.health.stream()
		switch s.Upgrade.Step {
		case session.StepCopy:
			if s, failure = x.copyState(ctx, s); session.CodeOf(failure) == session.CodeNotFound { // its container was never created
				s.Upgrade.Empty, failure = true, nil
			}
		case session.StepSwitch:
			c, failure = x.make.bringUp(ctx, s)
		case session.StepRevert:
			if failure = x.stopContainer(ctx, s); failure == nil {
				failure = x.make.restoreCopy(ctx, s)
			}
		case session.StepReturn:
			if !s.Upgrade.WasStopped {
				c, failure = x.make.bringUp(ctx, s)
			}
		}
		if errors.Is(failure, errTakenOver) {
			return s, x.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
		}
		if cause := context.Cause(ctx); failure != nil && (errors.Is(cause, errPreempted) || errors.Is(cause, errTakenOver) || errors.Is(cause, errShutdown)) {
			return s, x.cutShort(ctx, session.OpUpgrade, s, cause)
		}
		_, failure = x.attributeToEngine(ctx, session.OpUpgrade, stream, failure)
		switch session.CodeOf(failure) {
		case session.CodeEngineUnavailable, session.CodeStoreUnavailable:
			// Not a failure of the image: the operation stays recorded, and the reconciler resumes it at this step.
			x.opts.Logger.WarnContext(ctx, "upgrade waits for the engine", "session_id", s.ID, "step", s.Upgrade.Step, "error", failure)
			return s, failure
		}
		if failure != nil {
			x.opts.Logger.WarnContext(ctx, "step of an upgrade failed", "session_id", s.ID, "step", s.Upgrade.Step, "error", failure)
		}
		next, last := nextStep(s, failure)
		if last {
			return x.concludeUpgrade(ctx, w, s, c, failure)
		}
		s, err = x.records.changeOwned(ctx, s, func(now *session.Session) {
			now.Image, now.ImageSource, now.Upgrade = next.Image, next.ImageSource, next.Upgrade
		})
		if errors.Is(err, errTakenOver) {
			return s, x.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
		}
		if err != nil {
			return s, err
		}
	}
}

// nextStep returns the record after a step, or reports that it was the last one.
func nextStep(s session.Session, failure error) (next session.Session, last bool) {
	next = s.Clone()
	u := next.Upgrade
	switch {
	case u.Step == session.StepCopy && failure != nil:
		u.Step, u.Failed = session.StepReturn, session.MessageOf(failure)
	case u.Step == session.StepCopy:
		u.Step = session.StepSwitch
		next.Image, next.ImageSource = u.Image, u.ImageSource
	case u.Step == session.StepSwitch && failure != nil:
		u.Step, u.Failed = session.StepRevert, session.MessageOf(failure)
		next.Image, next.ImageSource = u.Previous, session.ImageChosen // not the profile's, which may be the image that failed
	case u.Step == session.StepRevert && failure == nil:
		u.Step = session.StepReturn
	default:
		return s, true
	}
	return next, false
}

// copyState stops the server and copies its state.
func (x *executor) copyState(ctx context.Context, s session.Session) (session.Session, error) {
	if err := x.stopContainer(ctx, s); err != nil {
		return s, err
	}
	if s.Upgrade.Earlier != nil { // from here on its copy is being replaced
		now, err := x.records.changeOwned(ctx, s, func(now *session.Session) { now.Upgrade.Earlier = nil })
		if err != nil {
			return s, err
		}
		s = now
	}
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errCopyTime)
	defer cancel()
	return s, explainCopy(ctx, x.runtime.SaveState(ctx, x.make.specOf(s)))
}

// concludeUpgrade records the end of an upgrade. c is the running container; failure is the reason if none runs.
func (x *executor) concludeUpgrade(ctx context.Context, w *Work, s session.Session, c session.Container, failure error) (session.Session, error) {
	u := *s.Upgrade
	result := upgradeResult(s, failure)
	ctx, cancel := x.cleanupContext(ctx)
	defer cancel()
	if failure != nil || u.WasStopped {
		c.Address = ""
		if errors.Is(x.records.holds(ctx, s), errTakenOver) {
			return s, x.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
		}
		if err := x.runtime.Stop(ctx, s.ContainerName, x.opts.StopTimeout); err != nil && session.CodeOf(err) != session.CodeNotFound {
			x.opts.Logger.WarnContext(ctx, "container not stopped after an upgrade; the reconciler retries", "session_id", s.ID, "error", err)
		}
	}
	x.locks.conclude(w)
	x.routes.setPlace(s.ID, placeOf(c))
	done, err := x.records.changeOwned(ctx, s, func(now *session.Session) {
		now.Operation, now.Port = nil, portOf(c.Address)
		if c.ID != "" {
			now.ContainerID, now.HostDir = c.ID, c.HostDir
		}
		switch {
		case failure != nil:
			now.Status = session.Error
		case u.WasStopped:
			now.Status = session.Stopped
		default:
			now.Status, now.StopReason, now.LastAccessed = session.Running, "", x.opts.now()
		}
		switch {
		case u.Step == session.StepSwitch:
			x.reports.appendEvent(ctx, now, session.EventUpgraded, u.Image)
		case u.Step == session.StepReturn:
			by, reason := ctx, u.Previous
			if u.Failed != "" { // an automatic revert
				by, reason = session.WithActor(ctx, session.ActorBerth), "the upgrade to "+u.Image+" failed: "+u.Failed
			}
			x.reports.appendEvent(by, now, session.EventReverted, reason)
			now.Upgrade = settled(now.Upgrade)
		case errors.Is(failure, errNoCopy):
			now.Upgrade = nil
		}
		if failure != nil {
			x.reports.appendEvent(ctx, now, session.EventFailed, session.MessageOf(result))
		}
		now.LastError = session.MessageOf(result)
	})
	if errors.Is(err, errTakenOver) {
		x.unlocated.add(s.ID)
		return s, x.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
	}
	if err != nil {
		return s, errors.Join(result, err)
	}
	if failure != nil {
		x.reports.notify(ctx, done, session.EventFailed, CauseStart, done.LastError)
	}
	x.opts.Logger.InfoContext(ctx, "upgrade done", "session_id", s.ID, "image", done.Image, "outcome", cmp.Or(string(session.CodeOf(result)), "ok"))
	return done, result
}

// upgradeResult returns the error of an upgrade for its caller; nil if it succeeded.
func upgradeResult(s session.Session, failure error) error {
	u := s.Upgrade
	switch {
	case failure != nil && u.Failed != "":
		return session.Errorf(session.CodeOf(failure), "the upgrade to %s failed: %s; and the session does not run on %s either: %s",
			u.Image, u.Failed, s.Image, session.MessageOf(failure)).Because(failure)
	case failure != nil:
		return failure
	case u.Failed != "":
		return session.Errorf(session.CodeUpgradeFailed, "the upgrade to %s failed: %s; the session is on %s again, with its state as it was", u.Image, u.Failed, s.Image)
	}
	return nil
}

// settled returns what stays recorded of an upgrade that is not in progress any more. One that ended before the switch leaves only
// the earlier upgrade.
func settled(u *session.Upgrade) *session.Upgrade {
	if u != nil && (u.Step == session.StepCopy || u.Step == session.StepReturn) {
		return u.Earlier
	}
	return u
}
