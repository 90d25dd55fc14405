package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"github.com/prometheus/procfs"

	"berth/internal/session"
)

// container is one container and its process, if it runs.
type container struct {
	id, name string
	instance string
	dir      string // containers/<name>

	mu         sync.Mutex
	record     record
	credential session.Secret // empty for a container of an earlier Berth: it is not on disk, and only a new Create supplies it
	run        *run           // nil while it does not run
	removed    bool
}

// run is one run of a container's process.
type run struct {
	process processID
	ended   chan struct{} // closed when the end has been recorded
}

// record is what is stored of a container: everything but the credential.
type record struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Instance   string          `json:"instance"`
	Session    session.ID      `json:"session"`
	Image      string          `json:"image"`
	Profile    session.Profile `json:"profile"`
	CreatedAt  time.Time       `json:"created_at"`
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at"`
	Process    *processID      `json:"process"` // nil while it does not run
	Port       int             `json:"port"`
	ExitCode   int             `json:"exit_code"`
	Fault      string          `json:"fault"`
}

const recordFile = "container.json"

// save makes the record durable. Call it with the lock held.
func (c *container) save() error {
	text, err := json.MarshalIndent(c.record, "", "  ")
	if err != nil {
		return fmt.Errorf("record container %s: %w", c.name, err)
	}
	if err := renameio.WriteFile(filepath.Join(c.dir, recordFile), append(text, '\n'), 0o600); err != nil {
		return failure("record container "+c.name, err)
	}
	return nil
}

// describe returns the container's present description. Call it with the lock held.
func (r *Runtime) describe(c *container) session.Container {
	known := session.Container{
		ID: c.id, Name: c.name, Session: c.record.Session, Image: c.record.Image,
		ExitCode: c.record.ExitCode, Fault: c.record.Fault, HostDir: r.volumeDir(c.name, session.WorkspaceVolume),
		CreatedAt: c.record.CreatedAt, StartedAt: c.record.StartedAt, FinishedAt: c.record.FinishedAt,
	}
	for _, v := range c.record.Profile.Volumes {
		known.Volumes = append(known.Volumes, r.volumeDir(c.name, v.Name))
	}
	switch {
	case c.run != nil:
		known.State, known.ExitCode = session.StateRunning, 0
		known.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.record.Port))
	case c.credential == "":
		known.State = session.StateDead // it cannot be started again; a new container can use its volumes
	default:
		known.State = session.StateStopped
	}
	return known
}

// load reads the containers of an earlier Berth, and undoes its unfinished operations.
func (r *Runtime) load(ctx context.Context) error {
	if err := emptyDir(filepath.Join(r.dir, trashDir)); err != nil {
		return failure("finish earlier removals", err)
	}
	entries, err := os.ReadDir(filepath.Join(r.dir, containersDir))
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	marked := markedProcesses()
	for _, entry := range entries {
		dir := filepath.Join(r.dir, containersDir, entry.Name())
		c, err := readContainer(dir)
		if errors.Is(err, fs.ErrNotExist) { // its creation was interrupted before it was recorded
			if err := removeAll(dir); err != nil {
				return fmt.Errorf("remove an incomplete container: %w", err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if c.instance != r.opts.Instance {
			r.foreign[c.name] = true
			continue
		}
		if err := r.adopt(ctx, c, marked[c.id]); err != nil {
			return err
		}
		r.containers[c.name] = c
	}
	return nil
}

func readContainer(dir string) (*container, error) {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, fmt.Errorf("read container: %w", err)
	}
	var rec record
	if err := json.Unmarshal(text, &rec); err != nil {
		return nil, fmt.Errorf("read container: %s is damaged; remove its directory, the volumes are elsewhere: %w",
			filepath.Join(dir, recordFile), err)
	}
	if rec.Name != filepath.Base(dir) || rec.ID == "" {
		return nil, fmt.Errorf("read container: %s is the record of another container", filepath.Join(dir, recordFile))
	}
	return &container{id: rec.ID, name: rec.Name, instance: rec.Instance, dir: dir, record: rec}, nil
}

// adopt takes over a container of an earlier Berth. A process that is not in its record belongs to an interrupted start, and
// is killed.
func (r *Runtime) adopt(ctx context.Context, c *container, processes procfs.Procs) error {
	if c.record.Process != nil {
		code, ended := c.record.Process.exitStatus(r.boot)
		if !ended {
			r.claimPort(c.record.Port)
			c.run = &run{process: *c.record.Process, ended: make(chan struct{})}
			r.watch(c, c.run)
			r.opts.Logger.InfoContext(ctx, "running server of a session found", "session_id", c.record.Session, "pid", c.run.process.PID)
			return nil
		}
		c.record.Process = nil
		c.record.ExitCode, c.record.FinishedAt = code, time.Now().UTC()
		if err := c.save(); err != nil {
			return err
		}
	}
	kill(processes)
	return nil
}
