package docker

import (
	"context"

	"github.com/moby/moby/client"

	"berth/internal/session"
)

// Pause freezes a container. See [session.Pauser].
func (r *Runtime) Pause(ctx context.Context, ref string) error {
	return r.switchState(ctx, "pause container "+ref, ref, session.StatePaused, func(ctx context.Context, id string) error {
		_, err := r.api.ContainerPause(ctx, id, client.ContainerPauseOptions{})
		return err
	})
}

// Resume thaws a container. See [session.Pauser].
func (r *Runtime) Resume(ctx context.Context, ref string) error {
	return r.switchState(ctx, "resume container "+ref, ref, session.StateRunning, func(ctx context.Context, id string) error {
		_, err := r.api.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
		return err
	})
}

// switchState brings a running or paused container of this installation into the given one of these two states.
func (r *Runtime) switchState(ctx context.Context, doing, ref string, to session.State, change func(ctx context.Context, id string) error) error {
	return r.operate(ctx, doing, func(ctx context.Context) error {
		c, err := r.inspectOwn(ctx, ref)
		if err != nil {
			return err
		}
		switch state := stateOf(c.State.Status); state {
		case to:
			return nil
		case session.StateRunning, session.StatePaused:
			return change(ctx, c.ID)
		case session.StateStopped, session.StateChanging, session.StateDead:
		}
		return session.Errorf(session.CodeNotRunning, "container %q does not run; start it first", ref)
	})
}
