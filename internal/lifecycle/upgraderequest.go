package lifecycle

import (
	"context"

	"berth/internal/session"
)

// UpgradeRequest is the target of an upgrade.
type UpgradeRequest struct {
	Image string // the session keeps it from then on; empty: its profile's image, which the session follows from then on
	Back  bool   // reverts the newest upgrade, with the image and the state before it; Image must be empty
}

// Upgrade changes a session's image, after a copy of its state. If its server does not become ready with the new image, the
// previous image and state are restored, and the work fails with a message that says so. A stopped session is started for that and
// stopped again. It does nothing to a session that is up to date.
//
// Errors beside those of [Manager.Start]: CodeInvalid, CodeImageNotFound; CodeConflict also if there is nothing to revert.
func (m *Manager) Upgrade(ctx context.Context, id session.ID, req UpgradeRequest) (*Work, error) {
	did := OperationResult{Operation: string(session.OpUpgrade), Session: id}
	s, err := m.store.Get(ctx, id)
	if err != nil {
		return nil, m.reports.reportRefusal(ctx, did, err)
	}
	if req.Back {
		if req.Image != "" {
			return nil, m.reports.reportRefusal(ctx, did, session.Errorf(session.CodeInvalid, "a revert always restores the previous image; name no other"))
		}
		if err := m.make.checkRevert(ctx, s); err != nil {
			return nil, m.reports.reportRefusal(ctx, did, err)
		}
		return m.queue.submit(ctx, id, Command{Kind: session.OpUpgrade, prepare: prepareRevert})
	}
	to, source, err := m.make.imageFor(s, req)
	if err == nil {
		err = m.opts.enoughMemory(s.Profile, m.opts.Profiles[s.Profile], s.Shape)
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

// imageFor returns the image of a request, and its source.
func (b *containers) imageFor(s session.Session, req UpgradeRequest) (string, session.ImageSource, error) {
	profile, known := b.opts.Profiles[s.Profile]
	if !known {
		return "", "", session.Errorf(session.CodeConflict, "the profile %q of session %s is not in the settings; put it back to upgrade the session", s.Profile, s.ID)
	}
	if req.Image == "" {
		return profile.Image, session.ImageFromProfile, nil
	}
	if err := (Request{Image: req.Image}).check(); err != nil {
		return "", "", err
	}
	return req.Image, session.ImageChosen, b.opts.checkAllowed(req.Image)
}

// prepareUpgrade adds an upgrade to the record s.
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

// upgradable returns an error if no upgrade or revert may begin.
func upgradable(s session.Session) error {
	if s.Operation != nil && s.Operation.Kind == session.OpUpgrade {
		return inProgressError(s.ID, session.OpUpgrade) // interrupted at the moment, and resumed soon
	}
	if s.Upgrade != nil && s.Upgrade.Step == session.StepRevert {
		return session.Errorf(session.CodeConflict, "the upgrade of session %s is being reverted; start the session, which completes the revert, and try again", s.ID)
	}
	return nil
}

// prepareRevert adds the revert of the newest upgrade to the record s.
func prepareRevert(before session.Session, s *session.Session) error {
	if err := upgradable(before); err != nil {
		return err
	}
	s.Upgrade = settled(s.Upgrade)
	if s.Upgrade == nil || s.Upgrade.Step != session.StepSwitch {
		return session.Errorf(session.CodeConflict, "session %s has no upgrade that could be reverted", s.ID)
	}
	s.StopReason = before.StopReason
	s.Upgrade.Step, s.Upgrade.WasStopped, s.Upgrade.Failed = session.StepRevert, isToBeStopped(before), ""
	s.Image, s.ImageSource = s.Upgrade.Previous, session.ImageChosen
	return nil
}

// isToBeStopped reports whether a session is stopped after its recorded operation, if any.
func isToBeStopped(s session.Session) bool {
	if s.Operation != nil {
		return s.Operation.Kind == session.OpStop
	}
	return s.Status == session.Stopped
}
