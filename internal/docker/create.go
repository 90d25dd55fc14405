package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

const (
	createGrace     = 5 * time.Second  // for the engine to finish a creation after the caller has canceled
	undoTimeout     = 15 * time.Second // for the clean-up after a failure
	lateArrival     = 2 * time.Second  // how long a container may still appear after its request was lost
	lateArrivalPoll = 100 * time.Millisecond
)

// Create makes a hardened container and its volumes. See [session.Runtime]. What protects the container is read back
// from the engine; if anything is missing the container is removed and the error is CodeInternal.
func (r *Runtime) Create(ctx context.Context, spec session.Spec) (session.Container, error) {
	if err := check(spec); err != nil {
		return session.Container{}, session.Errorf(session.CodeInvalid, "the container cannot be made: %v", err)
	}
	if err := r.checkWorkspace(ctx, spec); err != nil {
		return session.Container{}, err
	}
	var made session.Container
	err := r.operate(ctx, "create container "+spec.Name, func(ctx context.Context) error {
		on, err := r.attach(ctx, spec.Egress)
		if err != nil {
			return err
		}
		made, err = r.create(ctx, spec, on)
		return err
	})
	return made, err
}

// checkWorkspace returns an error when the volume of a workspace that has been used is missing: the engine would silently
// make an empty one.
func (r *Runtime) checkWorkspace(ctx context.Context, spec session.Spec) error {
	if !spec.InUse {
		return nil
	}
	name := volumeName(spec.Name, session.WorkspaceVolume)
	return r.read(ctx, "look for volume "+name, func(ctx context.Context) error {
		_, err := r.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if errdefs.IsNotFound(err) {
			return session.WorkspaceGone("the volume " + name)
		}
		return err
	})
}

func check(spec session.Spec) error {
	var faults []error
	must := func(ok bool, otherwise string) {
		if !ok {
			faults = append(faults, errors.New(otherwise))
		}
	}
	must(spec.Session != "", "the session is not named")
	must(spec.Name != "", "the container is not named")
	must(spec.Image != "", "the image is not named")
	must(spec.Credential != "", "the server has no password, and would be open to every neighbour")
	must(spec.Limits.Memory > 0, "the memory limit is missing")
	must(spec.Limits.CPUs > 0, "the CPU limit is missing")
	must(spec.Limits.Processes > 0, "the limit of processes is missing")
	if err := spec.Egress.Validate(); err != nil {
		faults = append(faults, err)
	}
	if err := spec.Profile.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("profile: %w", err))
	}
	return errors.Join(faults...)
}

func (r *Runtime) create(ctx context.Context, spec session.Spec, on attachment) (session.Container, error) {
	asked, err := r.containerOptions(spec, rand.Text(), on)
	if err != nil {
		return session.Container{}, err
	}
	made, err := r.make(ctx, spec, asked)
	if err != nil {
		return session.Container{}, err
	}
	return r.describe(ctx, made), nil
}

// make makes a container with these options for a specification, and verifies that the engine has applied them. After a
// failure no container is left.
func (r *Runtime) make(ctx context.Context, spec session.Spec, asked client.ContainerCreateOptions) (container.InspectResponse, error) {
	var none container.InspectResponse
	// The engine finishes a creation even when its client disconnects. Only its answer says for sure what has to be
	// undone, so it is awaited for a short time after the caller has canceled.
	graceful, done := withGrace(ctx, createGrace)
	answer, err := r.api.ContainerCreate(graceful, asked)
	done()
	switch {
	case err != nil && answeredByEngine(err):
		return none, r.createFailure(spec, err)
	case err != nil:
		return none, r.undoLost(ctx, asked.Name, asked.Config.Labels[labelAttempt], err)
	case ctx.Err() != nil:
		return none, r.undo(ctx, answer.ID, context.Cause(ctx))
	}
	got, err := r.api.ContainerInspect(ctx, answer.ID, client.ContainerInspectOptions{})
	if err == nil {
		err = verify(asked, got.Container, answer.Warnings)
	}
	if err != nil {
		return none, r.undo(ctx, answer.ID, err)
	}
	return got.Container, nil
}

// createFailure gives a rejected creation its code.
func (r *Runtime) createFailure(spec session.Spec, err error) error {
	switch {
	case errdefs.IsNotFound(err): // the network is there, so it is the image
		return session.Errorf(session.CodeImageNotFound,
			"the engine has no image %q; build or pull it there, or name another one", spec.Image).Because(err)
	case errdefs.IsConflict(err):
		return session.Errorf(session.CodeConflict,
			"there is a container named %q already; remove it or use another name", spec.Name).Because(err)
	}
	return err
}

// undo removes a container after its creation failed, also when the request has ended.
func (r *Runtime) undo(ctx context.Context, id string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	_, err := r.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return errors.Join(cause, fmt.Errorf("remove the container that was made nevertheless: %w", err))
	}
	return cause
}

// undoLost looks for the container of a request without an answer, and removes it if this attempt made it. While the engine
// cannot be reached, the container stays; the reconciler removes it later.
func (r *Runtime) undoLost(ctx context.Context, name, attempt string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateArrival)
	defer cancel()
	_ = every(ctx, lateArrivalPoll, func() (bool, error) {
		got, err := r.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		if err == nil && got.Container.Config != nil && got.Container.Config.Labels[labelAttempt] == attempt {
			cause = r.undo(ctx, got.Container.ID, cause)
		}
		return !errdefs.IsNotFound(err), nil
	})
	return cause
}
