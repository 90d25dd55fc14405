package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"berth/internal/session"
)

// Create implements session.Runtime. The command's program takes the place of the image: a program that is not installed is a
// CodeImageNotFound error.
func (r *Runtime) Create(ctx context.Context, spec session.Spec) (session.Container, error) {
	if err := r.enter(ctx, "create "+spec.Name); err != nil {
		return session.Container{}, err
	}
	if !safeName.MatchString(spec.Name) {
		return session.Container{}, session.Errorf(session.CodeInvalid, "container name %q cannot be a directory", spec.Name)
	}
	if spec.Credential == "" {
		return session.Container{}, session.Errorf(session.CodeInvalid, "container %s has no credential: its server would be open to everyone", spec.Name)
	}
	if spec.Profile.Env[session.RepositoryVariable] != "" {
		return session.Container{}, session.Errorf(session.CodeInvalid, "a repository is cloned by a session's image, and sessions are plain processes here: leave it out")
	}
	if _, err := r.program(spec.Profile); err != nil {
		return session.Container{}, err
	}
	if err := r.checkWorkspace(spec); err != nil {
		return session.Container{}, err
	}
	id := make([]byte, 16)
	rand.Read(id)
	c := &container{
		id: hex.EncodeToString(id), name: spec.Name, instance: r.opts.Instance,
		dir: filepath.Join(r.dir, containersDir, spec.Name), credential: spec.Credential,
	}
	c.record = record{
		ID: c.id, Name: c.name, Instance: c.instance, Session: spec.Session, Image: spec.Image, Profile: spec.Profile,
		CreatedAt: time.Now().UTC(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.Mkdir(c.dir, 0o700); errors.Is(err, fs.ErrExist) {
		return session.Container{}, session.Errorf(session.CodeConflict, "there is a container %q already", spec.Name)
	} else if err != nil {
		return session.Container{}, failure("create container "+spec.Name, err)
	}
	err := r.makeVolumes(c.name, spec.Profile)
	if err == nil {
		err = c.save()
	}
	if err != nil {
		return session.Container{}, errors.Join(err, removeAll(c.dir))
	}
	r.containers[c.name] = c
	r.events.emit(c, session.ActionCreated, 0)
	return r.describe(c), nil
}

// checkWorkspace returns an error when the directory of a workspace that has been used is missing.
func (r *Runtime) checkWorkspace(spec session.Spec) error {
	if !spec.InUse {
		return nil
	}
	dir := r.volumeDir(spec.Name, session.WorkspaceVolume)
	_, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return session.WorkspaceGone("the directory " + dir)
	case err != nil:
		return failure("look for the workspace of "+spec.Name, err)
	}
	return nil
}

// Remove implements session.Runtime.
func (r *Runtime) Remove(ctx context.Context, ref string, force bool) error {
	if err := r.enter(ctx, "remove "+ref); err != nil {
		return err
	}
	c := r.lookUp(ref)
	if c == nil {
		return r.notForeign(ref)
	}
	for {
		c.mu.Lock()
		if c.run == nil {
			break
		}
		if !force {
			c.mu.Unlock()
			return session.Errorf(session.CodeConflict, "container %s runs; stop it first", c.name)
		}
		running := c.run
		running.process.signal(r.boot, syscall.SIGKILL)
		c.mu.Unlock()
		if err := r.await(ctx, c, running); err != nil {
			return err
		}
	}
	trash, err := r.detach(c)
	c.mu.Unlock()
	if err != nil || trash == "" {
		return err
	}
	if err := removeAll(trash); err != nil {
		return fmt.Errorf("remove container %s: %w", c.name, err)
	}
	return nil
}

// detach removes a container from the runtime and returns the directory to delete. Call it with the container's lock held.
func (r *Runtime) detach(c *container) (string, error) {
	if c.removed {
		return "", nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	trash, err := r.moveToTrash(c.dir)
	if err != nil {
		return "", fmt.Errorf("remove container %s: %w", c.name, err)
	}
	c.removed = true
	delete(r.containers, c.name)
	r.events.emit(c, session.ActionRemoved, 0)
	return trash, nil
}

// RemoveVolumes implements session.Runtime.
func (r *Runtime) RemoveVolumes(ctx context.Context, name string) error {
	if err := r.enter(ctx, "remove the volumes of "+name); err != nil {
		return err
	}
	if !safeName.MatchString(name) {
		return nil // no container has had this name
	}
	if err := r.notForeign(name); err != nil {
		return err
	}
	r.mu.Lock()
	if _, inUse := r.containers[name]; inUse {
		r.mu.Unlock()
		return session.Errorf(session.CodeConflict, "the volumes of %s are in use; remove the container first", name)
	}
	trash, err := r.moveToTrash(filepath.Join(r.dir, volumesDir, name))
	r.mu.Unlock()
	if err == nil && trash != "" {
		err = removeAll(trash)
	}
	if err != nil {
		return fmt.Errorf("remove the volumes of %s: %w", name, err)
	}
	return nil
}

// Inspect implements session.Runtime. A stopped container of an earlier Berth is in StateDead: without its credential it
// cannot be started again. The exit code of a process that was not this process's child is not known, and -1.
func (r *Runtime) Inspect(ctx context.Context, ref string) (session.Container, error) {
	c, err := r.enterWith(ctx, "inspect", ref)
	if err != nil {
		return session.Container{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.describe(c), nil
}

// List implements session.Runtime; the containers are in the order of their names.
func (r *Runtime) List(ctx context.Context) ([]session.Container, error) {
	if err := r.enter(ctx, "list"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	found := make([]*container, 0, len(r.containers))
	for _, c := range r.containers {
		found = append(found, c)
	}
	r.mu.Unlock()
	slices.SortFunc(found, func(a, b *container) int { return strings.Compare(a.name, b.name) })
	all := make([]session.Container, 0, len(found))
	for _, c := range found {
		c.mu.Lock()
		if !c.removed {
			all = append(all, r.describe(c))
		}
		c.mu.Unlock()
	}
	return all, nil
}

// Ping implements session.Runtime.
func (r *Runtime) Ping(ctx context.Context) error { return r.enter(ctx, "ping") }
