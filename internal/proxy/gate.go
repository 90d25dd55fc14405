package proxy

import (
	"context"
	"sync"

	"berth/internal/session"
)

// errShuttingDown is what requests get that come after Drain has ended, and the cause by which it ends streams.
var errShuttingDown = session.Errorf(session.CodeShuttingDown, "Berth is stopping; try again in a moment").After(notRunningRetry)

// gate counts who is inside, and can be shut to newcomers.
type gate struct {
	mu      sync.Mutex
	isShut  bool
	watched bool          // somebody has waited
	inside  int           // requests being served
	streams int           // those of them that end only when somebody ends them
	changed chan struct{} // closed and replaced at each departure once the gate is watched
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave(stream bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if stream {
		g.streams--
	}
	g.announce()
}

// becomeStream says that a request inside has turned out to be a stream.
func (g *gate) becomeStream() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams++
	g.announce()
}

func (g *gate) announce() {
	if g.watched {
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

func (g *gate) inFlight() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}

// shut refuses whoever comes from now on.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = true
}

// drain waits until only streams are inside, and returns how many others were left when ctx ended.
func (g *gate) drain(ctx context.Context) int {
	return g.wait(ctx, func() int { return g.inside - g.streams })
}

// empty waits until nobody is inside and returns how many were left when ctx ended.
func (g *gate) empty(ctx context.Context) int {
	return g.wait(ctx, func() int { return g.inside })
}

func (g *gate) wait(ctx context.Context, left func() int) int {
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
