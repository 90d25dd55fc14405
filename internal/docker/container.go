package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// inspections is how many containers of a list are inspected at once.
const inspections = 8

// Inspect returns what the engine knows of a container. See [session.Runtime].
func (r *Runtime) Inspect(ctx context.Context, ref string) (session.Container, error) {
	var found session.Container
	err := r.read(ctx, "inspect container "+ref, func(ctx context.Context) error {
		c, err := r.inspectOwn(ctx, ref)
		if err == nil {
			found = r.describe(ctx, c)
		}
		return err
	})
	return found, err
}

// List returns the containers of this installation in every state; those that are removed meanwhile are left out.
func (r *Runtime) List(ctx context.Context) ([]session.Container, error) {
	var listed []session.Container
	err := r.read(ctx, "list containers", func(ctx context.Context) error {
		found, err := r.inspectAll(ctx)
		listed = make([]session.Container, 0, len(found))
		for _, c := range found {
			listed = append(listed, r.describe(ctx, c))
		}
		return err
	})
	return listed, err
}

// inspectAll inspects every container of this installation that is a session's. The engine's list has neither exit codes
// nor times, so each container is inspected; those that are removed meanwhile are left out.
func (r *Runtime) inspectAll(ctx context.Context) ([]container.InspectResponse, error) {
	all, err := r.api.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", labelInstance+"="+r.instance),
	})
	if err != nil {
		return nil, err
	}
	found := make([]container.InspectResponse, len(all.Items))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inspections)
	for i, item := range all.Items {
		if item.Labels[labelHelper] != "" { // removed by the call that made it
			continue
		}
		group.Go(func() (err error) {
			if found[i], err = r.inspectOwn(ctx, item.ID); session.CodeOf(err) == session.CodeNotFound {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(c container.InspectResponse) bool { return c.ID == "" }), nil
}

// inspectOwn returns the container of that ID or name if it belongs to this installation. Any other is not found: a session
// with the name of another program's container must never stop or remove it.
func (r *Runtime) inspectOwn(ctx context.Context, ref string) (container.InspectResponse, error) {
	missing := session.Errorf(session.CodeNotFound, "there is no container %q", ref)
	if ref == "" || strings.ContainsAny(ref, "/?#%") { // would change the request's path
		return container.InspectResponse{}, missing
	}
	got, err := r.api.ContainerInspect(ctx, ref, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return container.InspectResponse{}, missing.Because(err)
	}
	if err != nil {
		return container.InspectResponse{}, err
	}
	c := got.Container
	if c.Config == nil || c.HostConfig == nil || c.State == nil {
		return container.InspectResponse{}, errors.New("the engine's description of the container is incomplete")
	}
	// The engine accepts a prefix of an ID for the ID.
	known := c.ID == ref || strings.TrimPrefix(c.Name, "/") == ref
	if !known {
		return container.InspectResponse{}, missing
	}
	if owner := c.Config.Labels[labelInstance]; owner != r.instance {
		return container.InspectResponse{}, missing.Because(fmt.Errorf("%w: its label %s is %q, ours %q", errForeign, labelInstance, owner, r.instance))
	}
	return c, nil
}

// errForeign is why an existing container is not found for this installation.
var errForeign = errors.New("it belongs to another installation")

// inspectOwnOrConflict is like inspectOwn, for operations that must not succeed while the container exists: one of another
// installation is a CodeConflict error.
func (r *Runtime) inspectOwnOrConflict(ctx context.Context, ref string) (container.InspectResponse, error) {
	c, err := r.inspectOwn(ctx, ref)
	if errors.Is(err, errForeign) {
		err = session.Errorf(session.CodeConflict, "the container %q belongs to another installation of Berth or to another program, and was left alone; "+
			"if this installation has lost its name, see berth store adopt, else remove the container by hand", ref).Because(err)
	}
	return c, err
}

func (r *Runtime) describe(ctx context.Context, c container.InspectResponse) session.Container {
	name := strings.TrimPrefix(c.Name, "/")
	d := session.Container{
		ID:         c.ID,
		Name:       name,
		Session:    session.ID(c.Config.Labels[labelSession]),
		Image:      c.Config.Image,
		State:      stateOf(c.State.Status),
		OOMKilled:  c.State.OOMKilled,
		Fault:      c.State.Error,
		CreatedAt:  instant(c.Config.Labels[labelCreated]),
		StartedAt:  instant(c.State.StartedAt),
		FinishedAt: instant(c.State.FinishedAt),
	}
	if d.CreatedAt.IsZero() {
		d.CreatedAt = instant(c.Created)
	}
	if d.State == session.StateRunning && c.NetworkSettings != nil {
		d.Address, d.NetworkIP = r.address(ctx, c), r.networkIP(c)
	}
	if !hasProcesses(d.State) {
		d.ExitCode = c.State.ExitCode
	}
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume {
			d.Volumes = append(d.Volumes, m.Source)
		}
		if m.Name == volumeName(name, session.WorkspaceVolume) {
			d.HostDir = m.Source
		}
	}
	return d
}

// stateOf translates the engine's container status. An unknown one is a transitional state.
func stateOf(engine container.ContainerState) session.State {
	switch engine {
	case container.StateCreated, container.StateExited:
		return session.StateStopped
	case container.StateRunning:
		return session.StateRunning
	case container.StatePaused:
		return session.StatePaused
	case container.StateRemoving, container.StateDead:
		return session.StateDead
	case container.StateRestarting:
	}
	return session.StateChanging
}

// hasProcesses reports whether a container may have processes in this state.
func hasProcesses(s session.State) bool {
	return s != session.StateStopped && s != session.StateDead
}

// instant parses the engine's times and Berth's. The engine writes year 1 for "never", which is Go's zero.
func instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}
