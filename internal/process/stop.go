package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"berth/internal/session"
)

// pollInterval is the interval for a process that the kernel cannot wait for, and for a log that is followed.
const pollInterval = 50 * time.Millisecond

// Stop implements session.Runtime. The process group gets SIGTERM, and after the time-out SIGKILL.
func (r *Runtime) Stop(ctx context.Context, ref string, timeout time.Duration) error {
	c, err := r.enterWith(ctx, "stop", ref)
	if err != nil {
		return cmp.Or(r.notForeign(ref), err)
	}
	running := r.signal(c, nil, syscall.SIGTERM)
	if running == nil {
		return nil
	}
	graceful, cancel := context.WithTimeoutCause(ctx, timeout, errStopTimeout)
	defer cancel()
	if err := r.await(graceful, c, running); err == nil || !errors.Is(context.Cause(graceful), errStopTimeout) {
		return err
	}
	r.signal(c, running, syscall.SIGKILL)
	return r.await(ctx, c, running)
}

// errStopTimeout is why the wait for a server to end by itself has ended.
var errStopTimeout = errors.New("the server did not end in time")

// signal sends a signal to the container's process group and returns the run that it was sent to: nil when the container does
// not run, or not in the given run any more.
func (r *Runtime) signal(c *container, active *run, sig syscall.Signal) *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil || active != nil && c.run != active {
		return nil
	}
	c.run.process.signal(r.boot, sig)
	return c.run
}

// await waits until the end of a run has been recorded.
func (r *Runtime) await(ctx context.Context, c *container, active *run) error {
	select {
	case <-active.ended:
		return nil
	case <-r.closing:
		return errClosed()
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", c.name, context.Cause(ctx))
	}
}

// watch waits in the background for the end of a run, until then or until Close.
func (r *Runtime) watch(c *container, active *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return // the next Berth will watch it
	}
	r.waiters.Go(func() {
		active.process.waitExit(r.boot, r.closing)
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for !r.ended(c, active) {
			select {
			case <-tick.C:
			case <-r.closing:
				return
			}
		}
	})
}

// ended reports whether a run has ended, and records it if so.
func (r *Runtime) ended(c *container, active *run) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	code, ended := active.process.exitStatus(r.boot)
	if !ended {
		return false
	}
	kill(markedProcesses()[c.id]) // the end of a container ends all of its processes
	c.run = nil
	c.record.Process = nil
	c.record.ExitCode, c.record.FinishedAt = code, time.Now().UTC()
	r.releasePort(c.record.Port)
	if err := c.save(); err != nil {
		r.opts.Logger.WarnContext(context.Background(), "end of a server not recorded, the next start of Berth detects it again",
			"session_id", c.record.Session, "error", err)
	}
	r.events.emit(c, session.ActionEnded, code)
	close(active.ended)
	return true
}
