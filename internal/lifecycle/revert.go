package lifecycle

import (
	"context"
	"errors"

	"berth/internal/session"
)

// checkWayBack returns why the newest upgrade cannot be taken back although that is recorded.
func (m *Manager) checkWayBack(ctx context.Context, s session.Session) error {
	u := s.Upgrade.Settled()
	if u == nil || u.Step != session.StepSwitch {
		return nil // prepareReturn says why not
	}
	spec := m.specOf(s)
	if spec.Image = u.Previous; !u.Empty {
		err := m.runtime.CheckCopy(ctx, spec)
		if session.CodeOf(err) == session.CodeNotFound {
			return session.Errorf(session.CodeConflict, "the upgrade of session %s cannot be taken back: the copy of its state from before is not on the engine any more; "+
				"upgrade it to %s to have that image with the state of today", s.ID, u.Previous).Because(err)
		}
		if err != nil {
			return err
		}
	}
	err := m.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	if session.CodeOf(err) == session.CodeImageNotFound {
		return session.Errorf(session.CodeImageNotFound, "the upgrade of session %s cannot be taken back: the engine does not have its previous image %s any more; "+
			"pull or load that and try again", s.ID, u.Previous).Because(err)
	}
	return err
}

// prepareReturn records that the newest upgrade is about to be taken back.
func (m *Manager) prepareReturn(before session.Session, s *session.Session) error {
	if err := upgradable(before); err != nil {
		return err
	}
	s.Upgrade = s.Upgrade.Settled()
	if s.Upgrade == nil || s.Upgrade.Step != session.StepSwitch {
		return session.Errorf(session.CodeConflict, "session %s has no upgrade that could be taken back", s.ID)
	}
	s.StopReason = before.StopReason
	s.Upgrade.Step, s.Upgrade.WasStopped, s.Upgrade.Failed = session.StepRevert, before.IsToBeStopped(), ""
	s.Image, s.ImageSource = s.Upgrade.Previous, session.ImageChosen
	return nil
}

// errNoCopy is why a session cannot go back to its earlier state, which leaves it with the present one.
var errNoCopy = errors.New("there is no copy of the state")

// putBack removes the container and replaces the state by the copy. It returns errNoCopy, and has changed nothing, when there
// is none.
func (m *Manager) putBack(ctx context.Context, s session.Session) error {
	if err := m.holds(ctx, s); err != nil {
		return err
	}
	spec := m.specOf(s)
	if !s.Upgrade.Empty {
		err := m.runtime.CheckCopy(ctx, spec)
		if session.CodeOf(err) == session.CodeNotFound {
			return session.Errorf(session.CodeConflict, "the copy of the state of session %s from before the upgrade is not on the engine any more; "+
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
func (m *Manager) imageForCopy(ctx context.Context, s session.Session, spec session.Spec) (string, error) {
	err := m.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	for _, image := range []string{s.Upgrade.Image, m.profileOf(s).Image} {
		if session.CodeOf(err) != session.CodeImageNotFound {
			break
		}
		if other := m.runtime.CheckImage(ctx, spec.Profile, image); session.CodeOf(other) != session.CodeImageNotFound {
			return image, other
		}
	}
	return spec.Image, err
}

// finishReverting completes the way back of an upgrade that was cut short, before any server of the session may run.
func (m *Manager) finishReverting(ctx context.Context, s session.Session) (session.Session, error) {
	if s.Upgrade == nil || s.Upgrade.Step != session.StepRevert || s.Operation == nil || s.Operation.Kind == session.OpUpgrade {
		return s, nil
	}
	err := m.putBack(ctx, s)
	if err != nil && !errors.Is(err, errNoCopy) {
		return s, err
	}
	return m.changeOwned(ctx, s, func(now *session.Session) {
		if now.Upgrade = nil; err != nil {
			m.appendEvent(ctx, now, session.EventReverted, session.MessageOf(err))
		}
	})
}
