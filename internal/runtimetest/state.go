package runtimetest

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"berth/internal/session"
)

// CheckImage implements session.Runtime.
func (f *Fake) CheckImage(ctx context.Context, _ session.Profile, image string) error {
	return f.call(ctx, OpCheckImage, image, func() error { return missing(image) })
}

func missing(image string) error {
	switch image {
	case MissingImage:
		return session.Errorf(session.CodeImageNotFound, "the fake engine has no image %q", image)
	case InvalidImage:
		return session.Errorf(session.CodeInvalid, "%q cannot be the name of an image", image)
	}
	return nil
}

// Drift implements session.Runtime.
func (f *Fake) Drift(ctx context.Context, ref string, spec session.Spec) ([]session.Part, error) {
	var parts []session.Part
	err := f.callOn(ctx, OpDrift, ref, func(c *container) error {
		made := c.spec
		note := func(same bool, p session.Part) {
			if !same {
				parts = append(parts, p)
			}
		}
		note(missing(spec.Image) != nil || made.Image == spec.Image && c.build == f.builds[spec.Image], session.PartImage)
		note(made.Limits == spec.Limits, session.PartLimits)
		note(maps.Equal(made.Profile.Env, spec.Profile.Env) && made.Credential == spec.Credential, session.PartEnvironment)
		mine, theirs := made.Profile, spec.Profile
		mine.Env, theirs.Env, mine.Image, theirs.Image = nil, nil, "", ""
		note(reflect.DeepEqual(mine, theirs), session.PartProfile)
		return nil
	})
	return parts, err
}

// SaveState implements session.Runtime.
func (f *Fake) SaveState(ctx context.Context, spec session.Spec) error {
	return f.call(ctx, OpSaveState, spec.Name, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if c := f.containers[spec.Name]; c != nil && c.server != nil {
			return session.Errorf(session.CodeConflict, "container %s runs; stop it first", spec.Name)
		}
		v := f.volumes[spec.Name]
		if v == nil {
			return session.Errorf(session.CodeNotFound, "container %s has no volumes", spec.Name)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.saved, v.hasCopy = slices.Clone(v.sessions), true
		return nil
	})
}

// CheckCopy implements session.Runtime.
func (f *Fake) CheckCopy(ctx context.Context, spec session.Spec) error {
	return f.call(ctx, OpCheckCopy, spec.Name, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if v := f.volumes[spec.Name]; v == nil || !v.hasCopy {
			return session.Errorf(session.CodeNotFound, "there is no copy of the state of %s", spec.Name)
		}
		return nil
	})
}

// DeleteCopy removes the copy of a container's state, as a prune of the engine does.
func (f *Fake) DeleteCopy(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.volumes[name]; v != nil {
		v.saved, v.hasCopy = nil, false
	}
}

// RestoreState implements session.Runtime.
func (f *Fake) RestoreState(ctx context.Context, spec session.Spec) error {
	return f.call(ctx, OpRestoreState, spec.Name, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.containers[spec.Name] != nil {
			return session.Errorf(session.CodeConflict, "the volumes of %s are in use; remove the container first", spec.Name)
		}
		v := f.volumes[spec.Name]
		if v == nil || !v.hasCopy {
			return session.Errorf(session.CodeNotFound, "there is no copy of the state of %s", spec.Name)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.sessions = slices.Clone(v.saved)
		return nil
	})
}
