// Package process runs sessions' servers as child processes, for a first look and for tests on machines without an
// engine.
//
// It knows directories, /proc and signals of Linux. It isolates nothing, and logs a warning: a server has all rights of
// Berth's user, limits are not enforced, and a profile's user, image and read-only paths have no effect.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"

	"berth/internal/session"
)

// Runtime runs each container as a process with its own session (setsid), so that it keeps running when Berth stops. It is
// safe for concurrent use; one process at a time may use a directory.
type Runtime struct {
	opts    Options
	dir     string // absolute
	boot    string // ID of this boot of the machine: process IDs of another one are void
	lock    *os.File
	closing chan struct{} // closed by Close
	waiters sync.WaitGroup
	events  hub

	// mu is taken after a container's own lock, never before it.
	mu         sync.Mutex
	closed     bool
	containers map[string]*container // by name
	foreign    map[string]bool       // names of another installation's containers
	ports      map[int]bool          // of processes that run or are being started
}

var _ session.Runtime = (*Runtime)(nil)

// Options are the runtime's settings. Dir is required.
type Options struct {
	// Dir has containers/<name> and volumes/<name>/<volume>. It is made if it is missing, for its owner alone.
	Dir string
	// Command runs the server instead of the profile's Command, with the same placeholders: "{port}", and each
	// volume's name in braces for its directory. Empty: the profile's.
	Command  []string
	Instance string       // installation of these containers; those of others in the same directory are left alone
	Logger   *slog.Logger // default: none
}

// Open locks the directory, takes over the processes that an earlier Berth has started, and kills those of interrupted
// starts. It logs a warning that nothing is isolated. A directory in use by another process is a CodeConflict error.
func Open(ctx context.Context, opts Options) (*Runtime, error) {
	if opts.Dir == "" {
		return nil, errors.New("process runtime: no directory is set")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	r := &Runtime{
		opts: opts, dir: dir, closing: make(chan struct{}),
		containers: map[string]*container{}, foreign: map[string]bool{}, ports: map[int]bool{},
	}
	if r.boot, err = bootID(); err != nil {
		return nil, fmt.Errorf("process runtime: it needs the /proc of Linux: %w", err)
	}
	for _, sub := range []string{containersDir, volumesDir, trashDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, failure("make the directory of the process runtime", err)
		}
	}
	if err := r.acquire(); err != nil {
		return nil, err
	}
	if err := r.load(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	opts.Logger.WarnContext(ctx, "sessions run as plain processes: nothing is isolated and no limit is enforced; use this for a first look only",
		"runtime", "process", "directory", dir)
	return r, nil
}

// acquire locks the directory until Close or the end of this process.
func (r *Runtime) acquire() error {
	file, err := os.OpenFile(filepath.Join(r.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return failure("lock the directory of the process runtime", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return session.Errorf(session.CodeConflict, "another Berth uses the directory %s; stop it, or set another directory", r.dir).Because(err)
	}
	r.lock = file
	return nil
}

// Close ends every Watch and waits for the runtime's goroutines. The servers keep running.
func (r *Runtime) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	close(r.closing)
	r.waiters.Wait()
	// A child that is being forked at this moment has the file open too, and would keep a lock that is not released.
	return errors.Join(syscall.Flock(int(r.lock.Fd()), syscall.LOCK_UN), r.lock.Close())
}

// enter checks that a method may run: it fails when ctx has ended or the runtime is closed.
func (r *Runtime) enter(ctx context.Context, doing string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed()
	}
	return nil
}

func errClosed() error {
	return session.Errorf(session.CodeEngineUnavailable, "the process runtime is closed; Berth is stopping")
}

// enterWith is enter for a method about a container: CodeNotFound if there is none with this ID or name.
func (r *Runtime) enterWith(ctx context.Context, doing, ref string) (*container, error) {
	if err := r.enter(ctx, doing+" "+ref); err != nil {
		return nil, err
	}
	c := r.lookUp(ref)
	if c == nil {
		return nil, notFound(ref)
	}
	return c, nil
}

// notForeign returns a CodeConflict error for the name of another installation's container: a container that exists must not
// be reported as stopped or removed.
func (r *Runtime) notForeign(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.foreign[name] {
		return session.Errorf(session.CodeConflict, "the container %q belongs to another installation of Berth, and was left alone", name)
	}
	return nil
}

// lookUp returns nil if there is no container with this ID or name.
func (r *Runtime) lookUp(ref string) *container {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.containers[ref]; ok {
		return c
	}
	for _, c := range r.containers {
		if c.id == ref {
			return c
		}
	}
	return nil
}

func notFound(ref string) error {
	return session.Errorf(session.CodeNotFound, "there is no container %q", ref)
}

// safeName matches names that may be directories: no separators, no dot files. It is the Engine API's rule as well.
var safeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

// failure gives an error of the file system its code.
func failure(doing string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return session.Errorf(session.CodeDiskFull, "there is no space left for sessions; make room and try again").
			Because(fmt.Errorf("%s: %w", doing, err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}
