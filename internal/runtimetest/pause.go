package runtimetest

import (
	"context"

	"berth/internal/session"
)

// Pause implements session.Pauser: the server accepts connections and does not respond.
func (f *Fake) Pause(ctx context.Context, ref string) error {
	return f.turn(ctx, OpPause, ref, func(c *container) {
		if c.resumed == nil {
			c.resumed = make(chan struct{})
			c.info.State, c.info.Address = session.StatePaused, ""
		}
	})
}

// Resume implements session.Pauser.
func (f *Fake) Resume(ctx context.Context, ref string) error {
	return f.turn(ctx, OpResume, ref, func(c *container) {
		c.resume()
		c.info.State, c.info.Address = session.StateRunning, c.server.address
	})
}

// turn changes a running or paused container.
func (f *Fake) turn(ctx context.Context, op Op, ref string, change func(*container)) error {
	return f.callOn(ctx, op, ref, func(c *container) error {
		if c.server == nil {
			return session.Errorf(session.CodeNotRunning, "container %s does not run", c.info.Name)
		}
		change(c)
		return nil
	})
}

// resume lets requests through again. Call it with the lock held.
func (c *container) resume() {
	if c.resumed != nil {
		close(c.resumed)
		c.resumed = nil
	}
}

// awaitResume waits while a container is paused. It reports false if ctx ended first.
func (f *Fake) awaitResume(ctx context.Context, c *container) bool {
	f.mu.Lock()
	resumed := c.resumed
	f.mu.Unlock()
	if resumed == nil {
		return true
	}
	select {
	case <-resumed:
		return true
	case <-ctx.Done():
		return false
	}
}
