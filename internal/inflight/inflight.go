// Package inflight counts what is being done, so that stopping can wait for it, and can let nothing more begin.
package inflight

import (
	"context"
	"sync"
	"sync/atomic"
)

// Counter counts calls, of which some may be streams: those that end only when somebody ends them. It is safe for concurrent
// use, and costs a call no lock unless somebody waits. Make it with [New].
type Counter struct {
	state atomic.Uint64

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each departure once somebody waits
}

// state is calls, streams, whether somebody has waited, and whether no more may begin.
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

// New counts nothing yet.
func New() *Counter { return &Counter{changed: make(chan struct{})} }

// Begin counts a call, which [Counter.End] ends. It reports false, and counts nothing, after [Counter.Close].
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

// End ends a call; stream says whether it became one.
func (c *Counter) End(stream bool) {
	gone := uint64(oneCall)
	if stream {
		gone += oneStream
	}
	c.announce(c.state.Add(-gone))
}

// BecomeStream says that a call has turned out to be a stream.
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

// Count returns how many calls are being served, and how many of them are streams.
func (c *Counter) Count() (all, ofThemStreams int) {
	state := c.state.Load()
	return calls(state), streams(state)
}

// Close lets no call begin from now on.
func (c *Counter) Close() { c.state.Or(closed) }

// Drain waits until only streams are left, and returns how many other calls there were when ctx ended.
func (c *Counter) Drain(ctx context.Context) int {
	return c.wait(ctx, func(state uint64) int { return calls(state) - streams(state) })
}

// Empty waits until no call is left, and returns how many there were when ctx ended.
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
