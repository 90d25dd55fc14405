package process

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"berth/internal/session"
)

// copiesDir has the copies of a container's volumes, beside these. No volume's name starts with a dot.
const copiesDir = ".previous"

// CheckImage implements session.Runtime: the program takes the place of the image, so that an image other than the profile's
// is a CodeInvalid error.
func (r *Runtime) CheckImage(ctx context.Context, profile session.Profile, image string) error {
	if err := r.enter(ctx, "look for a program"); err != nil {
		return err
	}
	if image != profile.Image {
		return session.Errorf(session.CodeInvalid,
			"sessions are plain processes here (SESSION_RUNTIME=process), without images: leave the image out, or use the Docker runtime")
	}
	_, err := r.program(profile)
	return err
}

// Drift implements session.Runtime. Limits are not enforced here, so that changed limits do not count.
func (r *Runtime) Drift(ctx context.Context, ref string, spec session.Spec) ([]session.Part, error) {
	c, err := r.enterWith(ctx, "compare", ref)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []session.Part
	if c.record.Image != spec.Image {
		parts = append(parts, session.PartImage)
	}
	made, asked := c.record.Profile, spec.Profile
	if !maps.Equal(made.Env, asked.Env) || c.credential != "" && c.credential != spec.Credential {
		parts = append(parts, session.PartEnvironment)
	}
	made.Env, asked.Env, made.Image, asked.Image = nil, nil, "", ""
	if !reflect.DeepEqual(made, asked) {
		parts = append(parts, session.PartProfile)
	}
	return parts, nil
}

// SaveState implements session.Runtime.
func (r *Runtime) SaveState(ctx context.Context, spec session.Spec) error {
	if err := r.enter(ctx, "copy the state of "+spec.Name); err != nil {
		return err
	}
	if c := r.lookUp(spec.Name); c != nil {
		c.mu.Lock()
		runs := c.run != nil
		c.mu.Unlock()
		if runs {
			return session.Errorf(session.CodeConflict, "container %s runs; stop it first", spec.Name)
		}
	}
	return r.copyState(spec, r.volumeDir, r.copyDir)
}

// CheckCopy implements session.Runtime.
func (r *Runtime) CheckCopy(ctx context.Context, spec session.Spec) error {
	if err := r.enter(ctx, "look for a copy of the state of "+spec.Name); err != nil {
		return err
	}
	for _, v := range stateVolumes(spec) {
		_, err := os.Stat(r.copyDir(spec.Name, v.Name))
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return failure("look for the copy of volume "+v.Name+" of "+spec.Name, err)
		}
	}
	return session.Errorf(session.CodeNotFound, "there is no copy of the state of container %s", spec.Name)
}

// RestoreState implements session.Runtime.
func (r *Runtime) RestoreState(ctx context.Context, spec session.Spec) error {
	if err := r.enter(ctx, "restore the state of "+spec.Name); err != nil {
		return err
	}
	if r.lookUp(spec.Name) != nil {
		return session.Errorf(session.CodeConflict, "the volumes of %s are in use; remove the container first", spec.Name)
	}
	return r.copyState(spec, r.copyDir, r.volumeDir)
}

func (r *Runtime) copyDir(name, volume string) string {
	return filepath.Join(r.dir, volumesDir, name, copiesDir, volume)
}

// stateVolumes are the volumes with the server's state that have the name of a directory.
func stateVolumes(spec session.Spec) []session.Volume {
	if !safeName.MatchString(spec.Name) {
		return nil
	}
	return slices.DeleteFunc(spec.Profile.StateVolumes(), func(v session.Volume) bool { return !safeName.MatchString(v.Name) })
}

// copyState copies the state volumes that exist. It returns a CodeNotFound error if none does.
func (r *Runtime) copyState(spec session.Spec, from, to func(name, volume string) string) error {
	copied := false
	for _, v := range stateVolumes(spec) {
		source, target := from(spec.Name, v.Name), to(spec.Name, v.Name)
		if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		trash, err := r.moveToTrash(target)
		if err == nil && trash != "" {
			err = removeAll(trash)
		}
		if err == nil {
			err = copyTree(source, target)
		}
		if err != nil {
			return failure("copy volume "+v.Name+" of "+spec.Name, err)
		}
		copied = true
	}
	if !copied {
		return session.Errorf(session.CodeNotFound, "container %s has no state that could be copied", spec.Name)
	}
	return nil
}

// copyTree copies a directory with the permissions of its content.
func copyTree(source, target string) error {
	if err := os.MkdirAll(target, 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(target, os.DirFS(source)); err != nil {
		return err
	}
	return filepath.WalkDir(source, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		relative, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return os.Chmod(filepath.Join(target, relative), info.Mode().Perm())
	})
}
