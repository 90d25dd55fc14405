// Package inflight counts calls in progress, so that a shutdown can wait for them and reject new ones.
package inflight

import (
	"context"
	"sync"
	"sync/atomic"
)

// Counter counts calls in progress. Some are streams, which do not end by themselves. It is safe for concurrent use, and takes no
// lock unless there is a waiter. Create it with [New].
type Counter struct {
	state atomic.Uint64

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each end of a call once there was a waiter
}

// state packs the number of calls, the number of streams, whether there was a waiter, and whether the counter is closed.
const (
	oneCall   = 1
	oneStream = 1 << countBits
	watched   = 1 << (2 * countBits)
	closed    = watched << 1

	countBits = 31
	countMask = 1<<countBits - 1
)

func calls(state uint64) int   { return int(state & countMask) }
func streams(state uint64) int { return int(state >> countBits & countMask) }

// New returns a Counter without calls.
func New() *Counter { return &Counter{changed: make(chan struct{})} }

// Begin counts a call until [Counter.End]. It reports false, and does not count the call, after [Counter.Close].
func (c *Counter) Begin() bool {
	for {
		state := c.state.Load()
		if state&closed != 0 {
			return false
		}
		if c.state.CompareAndSwap(state, state+oneCall) {
			return true
		}
	}
}

// End ends a call; stream: it has become a stream.
func (c *Counter) End(stream bool) {
	gone := uint64(oneCall)
	if stream {
		gone += oneStream
	}
	c.announce(c.state.Add(-gone))
}

// BecomeStream counts a call as a stream from now on.
func (c *Counter) BecomeStream() { c.announce(c.state.Add(oneStream)) }

func (c *Counter) announce(state uint64) {
	if state&watched == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Count returns the number of calls in progress, and how many of them are streams.
func (c *Counter) Count() (all, ofThemStreams int) {
	state := c.state.Load()
	return calls(state), streams(state)
}

// Close makes Begin reject new calls.
func (c *Counter) Close() { c.state.Or(closed) }

// Drain waits until only streams are in progress, and returns the number of other calls at the end of ctx.
func (c *Counter) Drain(ctx context.Context) int {
	return c.wait(ctx, func(state uint64) int { return calls(state) - streams(state) })
}

// Empty waits until no call is in progress, and returns the number of calls at the end of ctx.
func (c *Counter) Empty(ctx context.Context) int { return c.wait(ctx, calls) }

func (c *Counter) wait(ctx context.Context, left func(state uint64) int) int {
	for {
		c.mu.Lock()
		changed := c.changed
		n := left(c.state.Or(watched))
		c.mu.Unlock()
		if n == 0 {
			return 0
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return n
		}
	}
}
