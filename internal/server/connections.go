package server

import (
	"context"
	"iter"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// idleGrace is how long connections without a request are kept open for one that is on its way, whose answer then says
	// that there can be no other.
	idleGrace = 250 * time.Millisecond
	// newGrace is how long the first request of a connection may take to arrive.
	newGrace = time.Second
	// settlePause is how often it is checked whether all connections are at rest.
	settlePause = 5 * time.Millisecond
)

// connections are what clients have opened, and what they are used for. A request looks at its own alone: none takes a lock
// that another one's connection needs.
type connections struct{ open sync.Map } // *connection by net.Conn

// connection is what one is used for.
type connection struct {
	net.Conn

	mu     sync.Mutex
	state  http.ConnState
	since  time.Time
	opened time.Time
	known  bool // a request with a valid token has come on it
	held   bool // a request is being answered that it must not be closed under
}

// spare is since when the connection could have been closed for another one; false: it must not be. One that never had a
// request with a valid token does not make it later by further requests.
func (c *connection) spare() (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known {
		return c.since, !c.held
	}
	return c.opened, !c.held
}

type connKey struct{}

// begin is the server's ConnContext.
func (c *connections) begin(ctx context.Context, conn net.Conn) context.Context {
	now := time.Now()
	one := &connection{Conn: conn, state: http.StateNew, since: now, opened: now}
	c.open.Store(conn, one)
	return context.WithValue(ctx, connKey{}, one)
}

// connectionOf is that of ctx; one that nobody looks at if there is none.
func connectionOf(ctx context.Context) *connection {
	if c, ok := ctx.Value(connKey{}).(*connection); ok {
		return c
	}
	return new(connection)
}

// hold notes whether a request is being answered that the connection must not be closed under.
func (c *connection) hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held, c.known = held, c.known || held
	if !held {
		c.since = time.Now()
	}
}

// know notes that a request with a valid token has come.
func (c *connection) know() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = true
}

// note is the server's ConnState.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	found, _ := c.open.Load(conn)
	one, ok := found.(*connection)
	if !ok { // it was closed for another one
		return
	}
	switch state {
	case http.StateHijacked, http.StateClosed:
		c.open.Delete(conn)
	case http.StateNew, http.StateActive, http.StateIdle:
		one.mu.Lock()
		defer one.mu.Unlock()
		one.state, one.since, one.held = state, time.Now(), false
	}
}

// closeOldest closes the connection that has not been held for longest, so that a new one can be accepted. A request without a
// valid token does not protect its connection, nor does one with a session's token to the API unless it is a stream, of which
// the number is bounded: a client that reads no answers could otherwise keep all others out.
func (c *connections) closeOldest() bool {
	for {
		oldest, since := c.oldest()
		if oldest == nil {
			return false
		}
		if now, ok := oldest.spare(); ok && now.Equal(since) { // it was not used meanwhile
			c.open.Delete(oldest.Conn)
			_ = oldest.Close()
			return true
		}
	}
}

// oldest returns nil if every connection is held.
func (c *connections) oldest() (oldest *connection, since time.Time) {
	for one := range c.all() {
		if spare, ok := one.spare(); ok && (oldest == nil || spare.Before(since)) {
			oldest, since = one, spare
		}
	}
	return oldest, since
}

func (c *connections) all() iter.Seq[*connection] {
	return func(yield func(*connection) bool) {
		for _, one := range c.open.Range {
			if !yield(one.(*connection)) { //nolint:forcetypeassert // nothing else is open
				return
			}
		}
	}
}

// settle waits until no connection has a request, or is likely to get one, or ctx ends. No connection is accepted meanwhile.
func (c *connections) settle(ctx context.Context) {
	begun := time.Now()
	look := time.NewTicker(settlePause)
	defer look.Stop()
	for !c.settled(begun) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *connections) settled(begun time.Time) bool {
	for one := range c.all() {
		if one.expectsRequest(begun) {
			return false
		}
	}
	return true
}

// expectsRequest reports whether the connection has a request, or may still get one; begun is when connections ceased to be
// accepted.
func (c *connection) expectsRequest(begun time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == http.StateActive ||
		c.state == http.StateIdle && time.Since(begun) < idleGrace ||
		c.state == http.StateNew && time.Since(c.since) < newGrace
}
