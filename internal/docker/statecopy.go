package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

const (
	copySource      = "/berth-source"       // where a helper mounts the volume that it copies from
	helperCopy      = "copy"                // value of labelHelper
	copyPoll        = 50 * time.Millisecond // between two checks whether a copy is complete
	copyOutputLimit = 4 << 10               // bytes of a helper's output that are read
)

func helperName(containerName string) string { return containerName + "-copy" }
func copyName(containerName, volume string) string {
	return volumeName(containerName, volume) + "-previous"
}

// SaveState copies the state volumes. See [session.Runtime]. The engine's API cannot copy a volume, so a helper container
// does: it has the session's image and confinement, and no network.
func (r *Runtime) SaveState(ctx context.Context, spec session.Spec) error {
	c, err := r.Inspect(ctx, spec.Name)
	if err == nil && hasProcesses(c.State) {
		return session.Errorf(session.CodeConflict, "container %q is running; stop it first", spec.Name)
	} else if err != nil && session.CodeOf(err) != session.CodeNotFound {
		return err
	}
	return r.copyAll(ctx, spec, volumeName, copyName)
}

// CheckCopy looks for copies of the state volumes. See [session.Runtime].
func (r *Runtime) CheckCopy(ctx context.Context, spec session.Spec) error {
	for _, v := range spec.Profile.StateVolumes() {
		err := r.haveVolume(ctx, copyName(spec.Name, v.Name))
		if session.CodeOf(err) != session.CodeNotFound {
			return err
		}
	}
	return session.Errorf(session.CodeNotFound, "there is no copy of the state of container %q", spec.Name)
}

// RestoreState puts the copies in place of the state volumes. See [session.Runtime].
func (r *Runtime) RestoreState(ctx context.Context, spec session.Spec) error {
	_, err := r.Inspect(ctx, spec.Name)
	if err == nil {
		return session.Errorf(session.CodeConflict, "the volumes of %q are in use; remove the container first", spec.Name)
	} else if session.CodeOf(err) != session.CodeNotFound {
		return err
	}
	if err := r.CheckImage(ctx, spec.Profile, spec.Image); err != nil { // before anything is removed
		return err
	}
	return r.copyAll(ctx, spec, copyName, volumeName)
}

// copyAll copies the state volumes that exist. It returns a CodeNotFound error if none does.
func (r *Runtime) copyAll(ctx context.Context, spec session.Spec, from, to func(containerName, volume string) string) error {
	copied := false
	for _, v := range spec.Profile.StateVolumes() {
		err := r.haveVolume(ctx, from(spec.Name, v.Name))
		if session.CodeOf(err) == session.CodeNotFound { // one that the profile did not have before
			continue
		}
		if err == nil {
			err = r.copyVolume(ctx, spec, from(spec.Name, v.Name), to(spec.Name, v.Name), v.Path)
		}
		if err != nil {
			return err
		}
		copied = true
	}
	if !copied {
		return session.Errorf(session.CodeNotFound, "container %q has no state that could be copied", spec.Name)
	}
	return nil
}

// haveVolume returns a CodeNotFound error if this installation has no such volume.
func (r *Runtime) haveVolume(ctx context.Context, name string) error {
	return r.read(ctx, "look for volume "+name, func(ctx context.Context) error {
		found, err := r.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if errdefs.IsNotFound(err) || err == nil && found.Volume.Labels[labelInstance] != r.instance {
			return session.Errorf(session.CodeNotFound, "there is no volume %q", name)
		}
		return err
	})
}

// copyVolume replaces a volume by a copy of another one. at is where the session's image has the directory, which gives a
// new volume its owner. A file that its own user may not read (mode 000) could not be copied by that user, so it is made
// readable to its owner first, who could do the same at any time.
func (r *Runtime) copyVolume(ctx context.Context, spec session.Spec, from, to, at string) error {
	duplicate := func() error {
		return r.runHelper(ctx, spec, "copy volume "+from, func(ctx context.Context) (client.ContainerCreateOptions, error) {
			if _, err := r.api.VolumeRemove(ctx, to, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
				return client.ContainerCreateOptions{}, fmt.Errorf("remove the previous volume %s: %w", to, err)
			}
			return r.copyContainerOptions(spec, from, to, at)
		})
	}
	err := duplicate()
	if !errors.Is(err, errUnreadable) {
		return err
	}
	opening := r.runHelper(ctx, spec, "make volume "+from+" readable", func(context.Context) (client.ContainerCreateOptions, error) {
		return r.chmodContainerOptions(spec, from)
	})
	if opening != nil { // files of other users stay as they are
		r.log.WarnContext(ctx, "not everything in a session's state could be made readable", "session_id", spec.Session, "error", opening)
	}
	return duplicate()
}

// runHelper runs a helper container to its end and removes it. options is called when the operation has its slot.
func (r *Runtime) runHelper(ctx context.Context, spec session.Spec, doing string, options func(context.Context) (client.ContainerCreateOptions, error)) error {
	if err := r.removeHelper(ctx, spec.Name); err != nil {
		return err
	}
	var helper string
	err := r.operate(ctx, doing, func(ctx context.Context) error {
		asked, err := options(ctx)
		if err != nil {
			return err
		}
		made, err := r.make(ctx, spec, asked)
		if err != nil {
			return err
		}
		helper = made.ID
		_, err = r.api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
		return r.startFailure(ctx, err)
	})
	if err == nil {
		err = r.awaitCopy(ctx, helper)
	}
	// The helper is removed also after the caller has canceled; if that fails, the next call removes it.
	removed := r.removeHelper(context.WithoutCancel(ctx), spec.Name)
	if session.CodeOf(err) == session.CodeStartFailed {
		return session.Errorf(session.CodeStartFailed, "the session's state cannot be copied, for which its image needs the program cp").Because(err)
	}
	return errors.Join(err, removed)
}

// copyContainerOptions are those of the container that copies: hardened like a session's server, with no network and no
// memory file systems.
func (r *Runtime) copyContainerOptions(spec session.Spec, from, to, at string) (client.ContainerCreateOptions, error) {
	asked, err := r.containerOptions(spec, "", attachment{network: "none", direct: true})
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	asked.Name = helperName(spec.Name)
	labels := map[string]string{
		labelSession: string(spec.Session), labelInstance: r.instance, labelContainer: spec.Name, labelHelper: helperCopy,
		labelCreated: spec.CreatedAt.UTC().Format(time.RFC3339Nano), labelAttempt: rand.Text(),
	}
	c, h := asked.Config, asked.HostConfig
	c.Labels, c.Env, c.ExposedPorts, c.WorkingDir = labels, nil, nil, "/"
	c.Entrypoint, c.Cmd = []string{"cp"}, []string{"-a", copySource + "/.", path.Clean(at) + "/"}
	h.Tmpfs = nil
	h.Mounts = []mount.Mount{
		{Type: mount.TypeVolume, Source: from, Target: copySource, ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
		r.volumeMount(spec, to, at),
	}
	return asked, nil
}

// chmodContainerOptions are those of the container that makes a volume's files readable to their owner. It is confined like
// one that copies.
func (r *Runtime) chmodContainerOptions(spec session.Spec, volume string) (client.ContainerCreateOptions, error) {
	asked, err := r.copyContainerOptions(spec, volume, volume, copySource)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	asked.Config.Entrypoint, asked.Config.Cmd = []string{"chmod"}, []string{"-R", "u+rX", copySource}
	asked.HostConfig.Mounts = []mount.Mount{
		{Type: mount.TypeVolume, Source: volume, Target: copySource, VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
	}
	return asked, nil
}

// errUnreadable is in the chain of the error of a helper that may not read something.
var errUnreadable = errors.New("a file in the volume cannot be read")

// awaitCopy waits until a helper has ended, and returns why it failed. Only ctx bounds the time of a copy.
func (r *Runtime) awaitCopy(ctx context.Context, helper string) error {
	const doing = "wait for the copy"
	var state container.State
	err := every(ctx, copyPoll, func() (bool, error) {
		err := r.read(ctx, doing, func(ctx context.Context) error {
			c, err := r.inspectOwn(ctx, helper)
			if err == nil {
				state = *c.State
			}
			return err
		})
		return !hasProcesses(stateOf(state.Status)), err
	})
	switch {
	case isA[*session.Failure](err): // of the read
		return err
	case err != nil:
		return r.failure(ctx, doing, err)
	case state.ExitCode != 0:
		return r.copyFailure(ctx, helper, state.ExitCode)
	}
	return nil
}

// copyFailure says why a helper has failed, from its output.
func (r *Runtime) copyFailure(ctx context.Context, helper string, code int) error {
	var output []byte
	if logs, err := r.Logs(ctx, helper, session.LogOptions{Tail: 20}); err == nil {
		output, _ = io.ReadAll(io.LimitReader(logs, copyOutputLimit))
		_ = logs.Close()
	}
	cause := fmt.Errorf("the helper ended with code %d: %q", code, output)
	switch text := strings.ToLower(string(output)); {
	case strings.Contains(text, "no space left on device"):
		return session.Errorf(session.CodeDiskFull, "the engine's disk has no room for a copy of the session's state").Because(cause)
	case strings.Contains(text, "permission denied"):
		return session.Errorf(session.CodeInternal, "the session's state could not be copied: the session's own user "+
			"may not read one of its files; Berth's log names it").Because(errors.Join(errUnreadable, cause))
	}
	return session.Errorf(session.CodeInternal, "the session's state could not be copied; the reason is in Berth's log").Because(cause)
}

// removeHelper removes the helper of a container, which an earlier process may have left.
func (r *Runtime) removeHelper(ctx context.Context, containerName string) error {
	return r.Remove(ctx, helperName(containerName), true)
}
