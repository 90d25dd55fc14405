package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"time"

	"berth/internal/session"
)

// copyTime bounds a copy of a session's state.
const copyTime = 10 * time.Minute

// UpgradeRequest says where an upgrade leads.
type UpgradeRequest struct {
	Image string // that the session keeps from then on; empty: its profile's image, which it follows from then on
	Back  bool   // to the image before the newest upgrade, with the state of that time; Image must be empty
}

// Upgrade moves a session to another image, with a copy of its state first. When its server does not become ready on that
// image the session goes back to the image and the state before, and the work fails with a sentence that says so. A session
// that was stopped is started for that and stopped again. It does nothing to a session that is up to date.
//
// Errors beside those of [Manager.Start]: CodeInvalid, CodeImageNotFound; CodeConflict also when there is no way back.
func (m *Manager) Upgrade(ctx context.Context, id session.ID, req UpgradeRequest) (*Work, error) {
	did := OperationResult{Operation: string(session.OpUpgrade), Session: id}
	s, err := m.store.Get(ctx, id)
	if err != nil {
		return nil, m.refuse(ctx, did, err)
	}
	if req.Back {
		if req.Image != "" {
			return nil, m.refuse(ctx, did, session.Errorf(session.CodeInvalid, "the way back leads to the previous image; name no other"))
		}
		if err := m.checkWayBack(ctx, s); err != nil {
			return nil, m.refuse(ctx, did, err)
		}
		return m.obey(ctx, id, Command{Kind: session.OpUpgrade, prepare: m.prepareReturn})
	}
	to, source, err := m.imageFor(s, req)
	if err == nil {
		err = m.enoughMemory(s.Profile, m.opts.Profiles[s.Profile])
	}
	if err == nil {
		err = m.runtime.CheckImage(ctx, *m.profileOf(s), to)
	}
	if err != nil {
		return nil, m.refuse(ctx, did, err)
	}
	now := s
	now.Image, now.ImageSource = to, session.ImageChosen
	parts, err := m.OutOfDate(ctx, now)
	if err != nil {
		return nil, m.refuse(ctx, did, err)
	}
	if len(parts) == 0 && s.Operation == nil && s.ContainerID != "" && s.Image == to && s.ImageSource == source {
		return finished(s), nil
	}
	return m.obey(ctx, id, Command{Kind: session.OpUpgrade, prepare: func(before session.Session, s *session.Session) error {
		return m.prepareUpgrade(before, s, to, source)
	}})
}

// imageFor returns the image that a request leads to, and who chose it.
func (m *Manager) imageFor(s session.Session, req UpgradeRequest) (string, session.ImageSource, error) {
	profile, known := m.opts.Profiles[s.Profile]
	if !known {
		return "", "", session.Errorf(session.CodeConflict, "the profile %q of session %s is not in the settings; put it back to upgrade the session", s.Profile, s.ID)
	}
	if req.Image == "" {
		return profile.Image, session.ImageFromProfile, nil
	}
	return req.Image, session.ImageChosen, (Request{Image: req.Image}).check()
}

// prepareUpgrade records what an upgrade is about to do.
func (m *Manager) prepareUpgrade(before session.Session, s *session.Session, to string, source session.ImageSource) error {
	if err := upgradable(before); err != nil {
		return err
	}
	s.StopReason = before.StopReason
	s.Upgrade = &session.Upgrade{
		Step: session.StepCopy, At: m.now(), Image: to, ImageSource: source, Previous: m.currentImage(before), WasStopped: before.IsToBeStopped(),
		Earlier: before.Clone().Upgrade.Settled(),
	}
	return nil
}

// currentImage is the image of the session's container as far as it is recorded.
func (m *Manager) currentImage(s session.Session) string {
	return cmp.Or(s.Image, m.profileOf(s).Image)
}

// upgradable returns why no other upgrade may begin.
func upgradable(s session.Session) error {
	if s.Operation != nil && s.Operation.Kind == session.OpUpgrade {
		return busy(s.ID, session.OpUpgrade) // nobody works on it at this moment, and it goes on soon
	}
	if s.Upgrade != nil && s.Upgrade.Step == session.StepRevert {
		return session.Errorf(session.CodeConflict, "session %s is on its way back from an upgrade; start it, which completes that, and try again", s.ID)
	}
	return nil
}

// performUpgrade does the work of an upgrade step by step and records how it ended.
func (m *Manager) performUpgrade(ctx context.Context, w *Work, s session.Session) (_ session.Session, err error) {
	begun := time.Now()
	defer func() {
		m.observe(ctx, OperationResult{Operation: string(session.OpUpgrade), Session: s.ID, Outcome: session.CodeOf(err), Duration: time.Since(begun), Forced: w.forced})
	}()
	for {
		if s.Upgrade == nil { // there is nothing that could be missing
			s.Upgrade = &session.Upgrade{Step: session.StepReturn, Image: s.Image, ImageSource: s.ImageSource, Previous: s.Image}
		}
		var c session.Container
		var failure error
		outages := m.monitor.outages()
		switch s.Upgrade.Step {
		case session.StepCopy:
			if s, failure = m.copyState(ctx, s); session.CodeOf(failure) == session.CodeNotFound { // its container has never been made
				s.Upgrade.Empty, failure = true, nil
			}
		case session.StepSwitch:
			c, failure = m.bringUp(ctx, s)
		case session.StepRevert:
			if failure = m.takeDown(ctx, s); failure == nil {
				failure = m.putBack(ctx, s)
			}
		case session.StepReturn:
			if !s.Upgrade.WasStopped {
				c, failure = m.bringUp(ctx, s)
			}
		}
		if errors.Is(failure, errTakenOver) {
			return s, m.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
		}
		if cause := context.Cause(ctx); failure != nil && (errors.Is(cause, errPreempted) || errors.Is(cause, errTakenOver) || errors.Is(cause, errShutdown)) {
			return s, m.cutShort(ctx, session.OpUpgrade, s, cause)
		}
		_, failure = m.blameEngine(ctx, session.OpUpgrade, outages, failure)
		switch session.CodeOf(failure) {
		case session.CodeEngineUnavailable, session.CodeStoreUnavailable:
			// It says nothing about the image: the operation stays recorded, and the reconciler takes it up at this step.
			m.opts.Logger.WarnContext(ctx, "upgrade waits for the engine", "session_id", s.ID, "step", s.Upgrade.Step, "error", failure)
			return s, failure
		}
		if failure != nil {
			m.opts.Logger.WarnContext(ctx, "step of an upgrade failed", "session_id", s.ID, "step", s.Upgrade.Step, "error", failure)
		}
		next, last := nextStep(s, failure)
		if last {
			return m.concludeUpgrade(ctx, w, s, c, failure)
		}
		s, err = m.changeOwned(ctx, s, func(now *session.Session) {
			now.Image, now.ImageSource, now.Upgrade = next.Image, next.ImageSource, next.Upgrade
		})
		if errors.Is(err, errTakenOver) {
			return s, m.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
		}
		if err != nil {
			return s, err
		}
	}
}

// nextStep is the record after a step, or reports that it was the last one.
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
		next.Image, next.ImageSource = u.Previous, session.ImageChosen // not the profile's, which may be the one that does not work
	case u.Step == session.StepRevert && failure == nil:
		u.Step = session.StepReturn
	default:
		return s, true
	}
	return next, false
}

// copyState stops the server and copies its state.
func (m *Manager) copyState(ctx context.Context, s session.Session) (session.Session, error) {
	if err := m.takeDown(ctx, s); err != nil {
		return s, err
	}
	if s.Upgrade.Earlier != nil { // its copy is replaced from here on
		now, err := m.changeOwned(ctx, s, func(now *session.Session) { now.Upgrade.Earlier = nil })
		if err != nil {
			return s, err
		}
		s = now
	}
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errCopyTime)
	defer cancel()
	return s, explainCopy(ctx, m.runtime.SaveState(ctx, m.specOf(s)))
}

var errCopyTime = errors.New("the time for copying is up")

func explainCopy(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errCopyTime) {
		return session.Errorf(session.CodeStartTimeout, "the session's state could not be copied within %s", copyTime).Because(err)
	}
	return err
}

// changeOwned changes a session on which this process does an operation, and returns errTakenOver when it does not any
// more. A store that is away is asked again until ctx ends.
func (m *Manager) changeOwned(ctx context.Context, s session.Session, f func(*session.Session)) (session.Session, error) {
	for {
		changed, err := m.change(ctx, s.ID, func(now *session.Session) error {
			if !now.IsSame(s) {
				return errTakenOver
			}
			f(now)
			return nil
		})
		if session.CodeOf(err) != session.CodeStoreUnavailable || pause(ctx, time.Second) != nil {
			return changed, err
		}
	}
}

// concludeUpgrade records the end of an upgrade. c is the container that runs; failure is why none does.
func (m *Manager) concludeUpgrade(ctx context.Context, w *Work, s session.Session, c session.Container, failure error) (session.Session, error) {
	u := *s.Upgrade
	result := upgradeResult(s, failure)
	ctx, cancel := m.outlive(ctx)
	defer cancel()
	if failure != nil || u.WasStopped {
		c.Address = ""
		if errors.Is(m.holds(ctx, s), errTakenOver) {
			return s, m.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
		}
		if err := m.runtime.Stop(ctx, s.ContainerName, m.opts.StopTimeout); err != nil && session.CodeOf(err) != session.CodeNotFound {
			m.opts.Logger.WarnContext(ctx, "container not stopped after an upgrade; the reconciler will see to it", "session_id", s.ID, "error", err)
		}
	}
	m.mu.Lock()
	w.concluding = true
	m.mu.Unlock()
	m.locate(s.ID, c.Address)
	done, err := m.changeOwned(ctx, s, func(now *session.Session) {
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
			now.Status, now.StopReason, now.LastAccessed = session.Running, "", m.now()
		}
		switch {
		case u.Step == session.StepSwitch:
			m.appendEvent(ctx, now, session.EventUpgraded, u.Image)
		case u.Step == session.StepReturn:
			by, reason := ctx, u.Previous
			if u.Failed != "" { // nobody has asked for it
				by, reason = session.WithActor(ctx, session.ActorBerth), "the upgrade to "+u.Image+" failed: "+u.Failed
			}
			m.appendEvent(by, now, session.EventReverted, reason)
			now.Upgrade = now.Upgrade.Settled()
		case errors.Is(failure, errNoCopy):
			now.Upgrade = nil
		}
		if failure != nil {
			m.appendEvent(ctx, now, session.EventFailed, session.MessageOf(result))
		}
		now.LastError = session.MessageOf(result)
	})
	if errors.Is(err, errTakenOver) {
		m.unlocated.add(s.ID)
		return s, m.cutShort(ctx, session.OpUpgrade, s, errTakenOver)
	}
	if err != nil {
		return s, errors.Join(result, err)
	}
	if failure != nil {
		m.notify(ctx, done, session.EventFailed, CauseStart, done.LastError)
	}
	m.opts.Logger.InfoContext(ctx, "upgrade done", "session_id", s.ID, "image", done.Image, "outcome", cmp.Or(string(session.CodeOf(result)), "ok"))
	return done, result
}

// upgradeResult is what the one who asked for the upgrade is told.
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
