package lifecycle

import (
	"context"
	"errors"

	"berth/internal/session"
)

// checkRevert returns an error if the newest upgrade cannot be reverted because its copy or its previous image is missing.
func (b *containers) checkRevert(ctx context.Context, s session.Session) error {
	u := settled(s.Upgrade)
	if u == nil || u.Step != session.StepSwitch {
		return nil // prepareRevert returns the error
	}
	spec := b.specOf(s)
	if spec.Image = u.Previous; !u.Empty {
		err := b.runtime.CheckCopy(ctx, spec)
		if session.CodeOf(err) == session.CodeNotFound {
			return session.Errorf(session.CodeConflict, "the upgrade of session %s cannot be reverted: the copy of its state from before is not on the engine any more; "+
				"upgrade it to %s to have that image with the state of today", s.ID, u.Previous).Because(err)
		}
		if err != nil {
			return err
		}
	}
	err := b.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	if session.CodeOf(err) == session.CodeImageNotFound {
		return session.Errorf(session.CodeImageNotFound, "the upgrade of session %s cannot be reverted: the engine does not have its previous image %s any more; "+
			"pull or load that and try again", s.ID, u.Previous).Because(err)
	}
	return err
}

// errNoCopy means that the state cannot be restored. The session keeps its present state.
var errNoCopy = errors.New("there is no copy of the state")

// restoreCopy removes the container and replaces the state by the copy. Without a copy it changes nothing and returns errNoCopy.
func (b *containers) restoreCopy(ctx context.Context, s session.Session) error {
	if err := b.records.holds(ctx, s); err != nil {
		return err
	}
	spec := b.specOf(s)
	if !s.Upgrade.Empty {
		err := b.runtime.CheckCopy(ctx, spec)
		if session.CodeOf(err) == session.CodeNotFound {
			return session.Errorf(session.CodeConflict, "the copy of the state of session %s from before the upgrade is not on the engine any more; "+
				"the state stays as it is, and the next start is with that", s.ID).Because(errNoCopy)
		}
		if err == nil {
			spec.Image, err = b.imageForCopy(ctx, s, spec)
		}
		if err != nil {
			return err
		}
	}
	if err := b.runtime.Remove(ctx, s.ContainerName, true); err != nil || s.Upgrade.Empty {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errCopyTime)
	defer cancel()
	return explainCopy(ctx, b.runtime.RestoreState(ctx, spec))
}

// imageForCopy returns an image that can copy the session's state: any image of its containers can.
func (b *containers) imageForCopy(ctx context.Context, s session.Session, spec session.Spec) (string, error) {
	err := b.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	for _, image := range []string{s.Upgrade.Image, b.routes.profileOf(s).Image} {
		if session.CodeOf(err) != session.CodeImageNotFound {
			break
		}
		if other := b.runtime.CheckImage(ctx, spec.Profile, image); session.CodeOf(other) != session.CodeImageNotFound {
			return image, other
		}
	}
	return spec.Image, err
}

var errCopyTime = errors.New("the time for copying is up")

func explainCopy(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errCopyTime) {
		return session.Errorf(session.CodeStartTimeout, "the session's state could not be copied within %s", copyTime).Because(err)
	}
	return err
}
