package session

import (
	"context"
	"errors"
)

// checkWayBack returns why the newest upgrade cannot be taken back although that is recorded.
func (m *Manager) checkWayBack(ctx context.Context, s Session) error {
	u := s.Upgrade.settled()
	if u == nil || u.Step != StepSwitch {
		return nil // prepareReturn says why not
	}
	spec := m.specOf(s)
	if spec.Image = u.Previous; !u.Empty {
		err := m.runtime.CheckCopy(ctx, spec)
		if CodeOf(err) == CodeNotFound {
			return Errorf(CodeConflict, "the upgrade of session %s cannot be taken back: the copy of its state from before is not on the engine any more; "+
				"upgrade it to %s to have that image with the state of today", s.ID, u.Previous).Because(err)
		}
		if err != nil {
			return err
		}
	}
	err := m.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	if CodeOf(err) == CodeImageNotFound {
		return Errorf(CodeImageNotFound, "the upgrade of session %s cannot be taken back: the engine does not have its previous image %s any more; "+
			"pull or load that and try again", s.ID, u.Previous).Because(err)
	}
	return err
}

// prepareReturn records that the newest upgrade is about to be taken back.
func (m *Manager) prepareReturn(before Session, s *Session) error {
	if err := upgradable(before); err != nil {
		return err
	}
	s.Upgrade = s.Upgrade.settled()
	if s.Upgrade == nil || s.Upgrade.Step != StepSwitch {
		return Errorf(CodeConflict, "session %s has no upgrade that could be taken back", s.ID)
	}
	s.StopReason = before.StopReason
	s.Upgrade.Step, s.Upgrade.Asleep, s.Upgrade.Failed = StepRevert, before.isToBeStopped(), ""
	s.Image, s.ImageSource = s.Upgrade.Previous, ImageChosen
	return nil
}

// errNoCopy is why a session cannot go back to its earlier state, which leaves it with the present one.
var errNoCopy = errors.New("there is no copy of the state")

// putBack removes the container and replaces the state by the copy. It returns errNoCopy, and has changed nothing, when there
// is none.
func (m *Manager) putBack(ctx context.Context, s Session) error {
	if err := m.holds(ctx, s); err != nil {
		return err
	}
	spec := m.specOf(s)
	if !s.Upgrade.Empty {
		err := m.runtime.CheckCopy(ctx, spec)
		if CodeOf(err) == CodeNotFound {
			return Errorf(CodeConflict, "the copy of the state of session %s from before the upgrade is not on the engine any more; "+
				"the state stays as it is, and the next start is with that", s.ID).Because(errNoCopy)
		}
		if err == nil {
			spec.Image, err = m.imageForCopy(ctx, s, spec)
		}
		if err != nil {
			return err
		}
	}
	if err := m.runtime.Remove(ctx, s.ContainerName, true); err != nil || s.Upgrade.Empty {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errCopyTime)
	defer cancel()
	return explainCopy(ctx, m.runtime.RestoreState(ctx, spec))
}

// imageForCopy is an image that can copy the session's state back: any does of which its containers are made.
func (m *Manager) imageForCopy(ctx context.Context, s Session, spec Spec) (string, error) {
	err := m.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	for _, image := range []string{s.Upgrade.Image, m.profileOf(s).Image} {
		if CodeOf(err) != CodeImageNotFound {
			break
		}
		if other := m.runtime.CheckImage(ctx, spec.Profile, image); CodeOf(other) != CodeImageNotFound {
			return image, other
		}
	}
	return spec.Image, err
}

// finishReverting completes the way back of an upgrade that was cut short, before any server of the session may run.
func (m *Manager) finishReverting(ctx context.Context, s Session) (Session, error) {
	if s.Upgrade == nil || s.Upgrade.Step != StepRevert || s.Operation == nil || s.Operation.Kind == OpUpgrade {
		return s, nil
	}
	err := m.putBack(ctx, s)
	if err != nil && !errors.Is(err, errNoCopy) {
		return s, err
	}
	return m.changeOwned(ctx, s, func(now *Session) {
		if now.Upgrade = nil; err != nil {
			m.mark(ctx, now, Reverted, MessageOf(err))
		}
	})
}
