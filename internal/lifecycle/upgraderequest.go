package lifecycle

import (
	"context"

	"berth/internal/session"
)

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
		return nil, m.reports.reportRefusal(ctx, did, err)
	}
	if req.Back {
		if req.Image != "" {
			return nil, m.reports.reportRefusal(ctx, did, session.Errorf(session.CodeInvalid, "the way back leads to the previous image; name no other"))
		}
		if err := m.make.checkRevert(ctx, s); err != nil {
			return nil, m.reports.reportRefusal(ctx, did, err)
		}
		return m.queue.submit(ctx, id, Command{Kind: session.OpUpgrade, prepare: prepareRevert})
	}
	to, source, err := m.make.imageFor(s, req)
	if err == nil {
		err = m.make.enoughMemory(s.Profile, m.opts.Profiles[s.Profile])
	}
	if err == nil {
		err = m.runtime.CheckImage(ctx, *m.routes.profileOf(s), to)
	}
	if err != nil {
		return nil, m.reports.reportRefusal(ctx, did, err)
	}
	now := s
	now.Image, now.ImageSource = to, session.ImageChosen
	parts, err := m.make.outOfDate(ctx, now)
	if err != nil {
		return nil, m.reports.reportRefusal(ctx, did, err)
	}
	if len(parts) == 0 && s.Operation == nil && s.ContainerID != "" && s.Image == to && s.ImageSource == source {
		return finished(s), nil
	}
	return m.queue.submit(ctx, id, Command{Kind: session.OpUpgrade, prepare: func(before session.Session, s *session.Session) error {
		return m.make.prepareUpgrade(before, s, to, source)
	}})
}

// imageFor returns the image that a request leads to, and who chose it.
func (b *containers) imageFor(s session.Session, req UpgradeRequest) (string, session.ImageSource, error) {
	profile, known := b.opts.Profiles[s.Profile]
	if !known {
		return "", "", session.Errorf(session.CodeConflict, "the profile %q of session %s is not in the settings; put it back to upgrade the session", s.Profile, s.ID)
	}
	if req.Image == "" {
		return profile.Image, session.ImageFromProfile, nil
	}
	return req.Image, session.ImageChosen, (Request{Image: req.Image}).check()
}

// prepareUpgrade records what an upgrade is about to do.
func (b *containers) prepareUpgrade(before session.Session, s *session.Session, to string, source session.ImageSource) error {
	if err := upgradable(before); err != nil {
		return err
	}
	s.StopReason = before.StopReason
	s.Upgrade = &session.Upgrade{
		Step: session.StepCopy, At: b.opts.now(), Image: to, ImageSource: source, Previous: b.currentImage(before), WasStopped: isToBeStopped(before),
		Earlier: settled(before.Clone().Upgrade),
	}
	return nil
}

// upgradable returns why no other upgrade may begin.
func upgradable(s session.Session) error {
	if s.Operation != nil && s.Operation.Kind == session.OpUpgrade {
		return inProgressError(s.ID, session.OpUpgrade) // nobody works on it at this moment, and it goes on soon
	}
	if s.Upgrade != nil && s.Upgrade.Step == session.StepRevert {
		return session.Errorf(session.CodeConflict, "session %s is on its way back from an upgrade; start it, which completes that, and try again", s.ID)
	}
	return nil
}

// prepareRevert records that the newest upgrade is about to be taken back.
func prepareRevert(before session.Session, s *session.Session) error {
	if err := upgradable(before); err != nil {
		return err
	}
	s.Upgrade = settled(s.Upgrade)
	if s.Upgrade == nil || s.Upgrade.Step != session.StepSwitch {
		return session.Errorf(session.CodeConflict, "session %s has no upgrade that could be taken back", s.ID)
	}
	s.StopReason = before.StopReason
	s.Upgrade.Step, s.Upgrade.WasStopped, s.Upgrade.Failed = session.StepRevert, isToBeStopped(before), ""
	s.Image, s.ImageSource = s.Upgrade.Previous, session.ImageChosen
	return nil
}

// isToBeStopped reports whether a session does not run once the operation that is recorded with it has been done.
func isToBeStopped(s session.Session) bool {
	if s.Operation != nil {
		return s.Operation.Kind == session.OpStop
	}
	return s.Status == session.Stopped
}
