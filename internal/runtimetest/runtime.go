package runtimetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"berth/internal/session"
)

// Create implements session.Runtime.
func (f *Fake) Create(ctx context.Context, spec session.Spec) (session.Container, error) {
	var made session.Container
	err := f.call(ctx, OpCreate, spec.Name, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.containers[spec.Name] != nil {
			return session.Errorf(session.CodeConflict, "there is a container %q already", spec.Name)
		}
		if err := missing(spec.Image); err != nil {
			return err
		}
		if f.volumes[spec.Name] == nil && spec.InUse {
			return session.WorkspaceGone(spec.Name + "/" + session.WorkspaceVolume)
		}
		if f.volumes[spec.Name] == nil {
			v := &volumes{}
			for _, one := range spec.Profile.Volumes {
				v.names = append(v.names, one.Name)
			}
			f.volumes[spec.Name] = v
		}
		id := make([]byte, 32)
		rand.Read(id)
		c := &container{spec: spec, build: f.builds[spec.Image], log: newLog(), info: session.Container{
			ID: hex.EncodeToString(id), Name: spec.Name, Session: spec.Session, Image: spec.Image,
			State: session.StateStopped, HostDir: "/var/lib/fake/" + spec.Name + "/" + session.WorkspaceVolume, CreatedAt: f.now(),
		}}
		f.containers[spec.Name] = c
		f.emit(session.ActionCreated, c)
		made = c.info
		return nil
	})
	return made, err
}

// Start implements session.Runtime.
func (f *Fake) Start(ctx context.Context, ref string) error {
	return f.callOn(ctx, OpStart, ref, func(c *container) error {
		switch {
		case c.info.State == session.StateRunning:
			return nil
		case c.info.State != session.StateStopped:
			return session.Errorf(session.CodeStartFailed, "container %s is %s", c.info.Name, c.info.State)
		}
		return f.run(c)
	})
}

// Stop implements session.Runtime.
func (f *Fake) Stop(ctx context.Context, ref string, timeout time.Duration) error {
	return f.call(ctx, OpStop, ref, func() error {
		f.mu.Lock()
		c := f.find(ref)
		if c == nil {
			f.mu.Unlock()
			return notFound(ref)
		}
		code, stubborn, asked := 0, f.behaviourLocked(c.spec).Stubborn, c.server
		f.mu.Unlock()
		if asked == nil {
			return nil
		}
		if stubborn {
			code = exitKilled
			if !sleep(ctx, timeout) {
				return fmt.Errorf("stop %s: %w", ref, context.Cause(ctx))
			}
		}
		f.mu.Lock()
		var s *server
		if c.server == asked {
			c.log.printf("fake: stop")
			s = f.ended(c, code, false)
		}
		f.mu.Unlock()
		s.close()
		return nil
	})
}

// Remove implements session.Runtime.
func (f *Fake) Remove(ctx context.Context, ref string, force bool) error {
	return f.call(ctx, OpRemove, ref, func() error {
		f.mu.Lock()
		c := f.find(ref)
		var s *server
		var err error
		switch {
		case c == nil:
		case c.server != nil && !force:
			err = session.Errorf(session.CodeConflict, "container %s runs; stop it first", c.info.Name)
		default:
			if c.server != nil {
				s = f.ended(c, exitKilled, false)
			}
			f.forget(c)
		}
		f.mu.Unlock()
		s.close()
		return err
	})
}

// RemoveVolumes implements session.Runtime.
func (f *Fake) RemoveVolumes(ctx context.Context, name string) error {
	return f.call(ctx, OpRemoveVolumes, name, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.containers[name] != nil {
			return session.Errorf(session.CodeConflict, "the volumes of %s are in use; remove the container first", name)
		}
		delete(f.volumes, name)
		return nil
	})
}

// Inspect implements session.Runtime.
func (f *Fake) Inspect(ctx context.Context, ref string) (session.Container, error) {
	var found session.Container
	err := f.callOn(ctx, OpInspect, ref, func(c *container) error {
		found = c.info
		return nil
	})
	return found, err
}

// List implements session.Runtime; the containers are in the order of their names.
func (f *Fake) List(ctx context.Context) ([]session.Container, error) {
	var all []session.Container
	err := f.call(ctx, OpList, "", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, c := range f.containers {
			all = append(all, c.info)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b session.Container) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// Logs implements session.Runtime.
func (f *Fake) Logs(ctx context.Context, ref string, opts session.LogOptions) (io.ReadCloser, error) {
	var logs io.ReadCloser
	err := f.callOn(ctx, OpLogs, ref, func(c *container) error {
		logs = c.log.open(ctx, opts.Tail, opts.Follow)
		return nil
	})
	return logs, err
}

// Stats implements session.Runtime. The figures are invented: a sixteenth of the memory limit, a millisecond of
// processor time per second.
func (f *Fake) Stats(ctx context.Context, ref string) (session.Stats, error) {
	var stats session.Stats
	err := f.callOn(ctx, OpStats, ref, func(c *container) error {
		if c.info.State != session.StateRunning {
			return session.Errorf(session.CodeNotRunning, "container %s does not run", c.info.Name)
		}
		limit := c.spec.Limits.Memory
		stats = session.Stats{
			Memory: cmp.Or(limit/16, 16<<20), MemoryLimit: limit, CPU: f.now().Sub(c.info.StartedAt) / 1000, PIDs: 12,
		}
		return nil
	})
	return stats, err
}

// Ping implements session.Runtime.
func (f *Fake) Ping(ctx context.Context) error {
	return f.call(ctx, OpPing, "", func() error { return nil })
}
