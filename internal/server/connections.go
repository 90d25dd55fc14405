package server

import (
	"context"
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

// connections are what clients have opened, and what they are used for.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]use
}

type use struct {
	state  http.ConnState
	since  time.Time
	opened time.Time
	known  bool // a request with a valid token has come on it
	held   bool // a request is being answered that it must not be closed under
}

// spare is since when a connection could have been closed for another one. One that never had a request with a valid token does not
// make it later by further requests.
func (u use) spare() time.Time {
	if u.known {
		return u.since
	}
	return u.opened
}

type connKey struct{}

// withConn is the server's ConnContext.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// hold notes whether a request is being answered on the connection of ctx that it must not be closed under.
func (c *connections) hold(ctx context.Context, held bool) {
	c.change(ctx, func(u *use) {
		u.held, u.known = held, u.known || held
		if !held {
			u.since = time.Now()
		}
	})
}

// know notes that a request with a valid token has come on the connection of ctx.
func (c *connections) know(ctx context.Context) { c.change(ctx, func(u *use) { u.known = true }) }

func (c *connections) change(ctx context.Context, f func(*use)) {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if u, ok := c.open[conn]; ok { // else it is another protocol's, or closed
		f(&u)
		c.open[conn] = u
	}
}

// note is the server's ConnState.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateHijacked, http.StateClosed:
		delete(c.open, conn)
	case http.StateNew, http.StateActive, http.StateIdle:
		if c.open == nil {
			c.open = map[net.Conn]use{}
		}
		u, now := c.open[conn], time.Now()
		if u.opened.IsZero() {
			u.opened = now
		}
		u.state, u.since, u.held = state, now, false
		c.open[conn] = u
	}
}

// closeOldest closes the connection that has not been held for longest, so that a new one can be accepted. A request without a
// valid token does not protect its connection, nor does one with a session's token to the API unless it is a stream, of which
// the number is bounded: a client that reads no answers could otherwise keep all others out.
func (c *connections) closeOldest() bool {
	c.mu.Lock()
	var oldest net.Conn
	for conn, u := range c.open {
		if !u.held && (oldest == nil || u.spare().Before(c.open[oldest].spare())) {
			oldest = conn
		}
	}
	delete(c.open, oldest)
	c.mu.Unlock()
	if oldest == nil {
		return false
	}
	_ = oldest.Close()
	return true
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
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.open {
		switch {
		case u.state == http.StateActive,
			u.state == http.StateIdle && time.Since(begun) < idleGrace,
			u.state == http.StateNew && time.Since(u.since) < newGrace:
			return false
		}
	}
	return true
}
