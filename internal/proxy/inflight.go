package proxy

import (
	"context"
	"sync"

	"berth/internal/session"
)

// errShuttingDown is what requests get that come after Drain has ended, and the cause by which it ends streams.
var errShuttingDown = session.Errorf(session.CodeShuttingDown, "Berth is stopping; try again in a moment").After(notRunningRetry)

// inFlightCounter counts who is inside, and can be shut to newcomers.
type inFlightCounter struct {
	mu       sync.Mutex
	closed   bool
	watched  bool          // somebody has waited
	requests int           // requests being served
	streams  int           // those of them that end only when somebody ends them
	changed  chan struct{} // closed and replaced at each departure once the gate is watched
}

func newInFlightCounter() *inFlightCounter { return &inFlightCounter{changed: make(chan struct{})} }

func (g *inFlightCounter) add() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.requests++
	return true
}

func (g *inFlightCounter) done(stream bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests--
	if stream {
		g.streams--
	}
	g.announce()
}

// becomeStream says that a request inside has turned out to be a stream.
func (g *inFlightCounter) becomeStream() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams++
	g.announce()
}

func (g *inFlightCounter) announce() {
	if g.watched {
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

func (g *inFlightCounter) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// close refuses whoever comes from now on.
func (g *inFlightCounter) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// drain waits until only streams are inside, and returns how many others were left when ctx ended.
func (g *inFlightCounter) drain(ctx context.Context) int {
	return g.wait(ctx, func() int { return g.requests - g.streams })
}

// empty waits until nobody is inside and returns how many were left when ctx ended.
func (g *inFlightCounter) empty(ctx context.Context) int {
	return g.wait(ctx, func() int { return g.requests })
}

func (g *inFlightCounter) wait(ctx context.Context, left func() int) int {
	for {
		g.mu.Lock()
		g.watched = true
		n, changed := left(), g.changed
		g.mu.Unlock()
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
