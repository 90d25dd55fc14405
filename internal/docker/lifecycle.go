package docker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

const removalPoll = 50 * time.Millisecond // between two checks whether a container is removed

// Start starts a container and leaves it in place when that fails. See [session.Runtime].
func (r *Runtime) Start(ctx context.Context, ref string) error {
	return r.operate(ctx, "start container "+ref, func(ctx context.Context) error {
		c, err := r.inspectOwn(ctx, ref)
		if err != nil {
			return err
		}
		if c.State.Status == container.StateRunning {
			return nil
		}
		if err := r.reattach(ctx, c); err != nil {
			return err
		}
		_, err = r.api.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
		return r.startFailure(ctx, err)
	})
}

// startFailure gives a failed start that has no more specific code CodeStartFailed.
func (r *Runtime) startFailure(ctx context.Context, err error) error {
	if err == nil || !answeredByEngine(err) {
		return err
	}
	if text := err.Error(); strings.Contains(text, "task ") && strings.Contains(text, ": already exists") {
		return session.Errorf(session.CodeConflict, "the engine still has an earlier run of the container, which it has lost track of").Because(err)
	}
	switch session.CodeOf(r.failure(ctx, "start", err)) {
	case session.CodeInternal, session.CodeInvalid:
		return session.Errorf(session.CodeStartFailed,
			"the engine could not start the container; its reason is in Berth's log").Because(err)
	}
	return err
}

// Stop asks the server to end, and kills it after the time-out, which is rounded up to seconds. See [session.Runtime].
func (r *Runtime) Stop(ctx context.Context, ref string, timeout time.Duration) error {
	timeout = max(0, timeout)
	// A stop mostly waits for the server: it must not occupy a slot of the other operations.
	return r.operateIn(ctx, r.stops, "stop container "+ref, timeout, func(ctx context.Context) error {
		c, err := r.inspectOwnOrConflict(ctx, ref)
		if err != nil {
			return err
		}
		if !hasProcesses(stateOf(c.State.Status)) {
			return nil
		}
		seconds := int(math.Ceil(timeout.Seconds()))
		_, err = r.api.ContainerStop(ctx, c.ID, client.ContainerStopOptions{Timeout: &seconds})
		return err
	})
}

// Remove removes a container, and never a volume that has a name. See [session.Runtime].
func (r *Runtime) Remove(ctx context.Context, ref string, force bool) error {
	return r.operate(ctx, "remove container "+ref, func(ctx context.Context) error {
		c, err := r.inspectOwnOrConflict(ctx, ref)
		if session.CodeOf(err) == session.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if !force && hasProcesses(stateOf(c.State.Status)) {
			return session.Errorf(session.CodeConflict, "container %q is running; stop it first, or force its removal", ref)
		}
		// RemoveVolumes concerns anonymous volumes, which an image may declare and which could not be found later.
		_, err = r.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: force, RemoveVolumes: true})
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case errdefs.IsConflict(err):
			return r.awaitRemoval(ctx, c.ID, err)
		}
		return err
	})
}

// awaitRemoval waits for a removal that another client has started, so that the name is free when Remove returns.
func (r *Runtime) awaitRemoval(ctx context.Context, id string, conflict error) error {
	err := every(ctx, removalPoll, func() (bool, error) {
		c, err := r.inspectOwn(ctx, id)
		switch {
		case session.CodeOf(err) == session.CodeNotFound:
			return true, nil
		case err != nil:
			return false, err
		case c.State.Status != container.StateRemoving && !c.State.Dead:
			return false, conflict
		}
		return false, nil
	})
	if ctx.Err() != nil && err != nil {
		return errors.Join(err, conflict)
	}
	return err
}

// RemoveVolumes removes the volumes of a container's name. See [session.Runtime]. A volume of such a name that does not
// belong to this installation is a CodeConflict error, and then none is removed: data that stays must not be reported as
// deleted.
func (r *Runtime) RemoveVolumes(ctx context.Context, name string) error {
	if err := r.removeHelper(ctx, name); err != nil { // it may hold them
		return err
	}
	return r.operate(ctx, "remove volumes of container "+name, func(ctx context.Context) error {
		// The engine's filter matches parts of names.
		list, err := r.api.VolumeList(ctx, client.VolumeListOptions{Filters: client.Filters{}.Add("name", volumeName(name, ""))})
		if err != nil {
			return err
		}
		volumes := slices.DeleteFunc(list.Items, func(v volume.Volume) bool {
			other := v.Labels[labelContainer] != "" && v.Labels[labelContainer] != name // the volume of a container with this name as a prefix
			return other || !strings.HasPrefix(v.Name, volumeName(name, ""))
		})
		for _, v := range volumes {
			if v.Labels[labelInstance] != r.instance {
				return session.Errorf(session.CodeConflict, "the volume %q has the name of one of the session's and does not belong to this "+
					"installation of Berth, so it was left alone; if this installation has lost its name, see berth store adopt, else remove the volume by hand", v.Name).
					Because(fmt.Errorf("%w: its label %s is %q, ours %q", errForeign, labelInstance, v.Labels[labelInstance], r.instance))
			}
		}
		for _, v := range volumes {
			_, err := r.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{})
			switch {
			case errdefs.IsConflict(err):
				return session.Errorf(session.CodeConflict,
					"the session's files are in use; remove its container first").Because(fmt.Errorf("volume %s: %w", v.Name, err))
			case err != nil && !errdefs.IsNotFound(err):
				return fmt.Errorf("volume %s: %w", v.Name, err)
			}
		}
		return nil
	})
}
