package server

import (
	"context"
	"crypto/tls"
	"iter"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// idleGrace is how long idle connections are kept open while draining, for requests that are being sent. Their responses
	// then say that the connection is closed.
	idleGrace = 250 * time.Millisecond
	// newGrace is how long the first request of a connection may take to arrive.
	newGrace = time.Second
	// settlePause is how often it is checked whether all connections are at rest.
	settlePause = 5 * time.Millisecond
)

// connections are the open connections of clients and their use. A request accesses only its own connection, so that none
// takes a lock that another one needs.
type connections struct {
	open   sync.Map     // *connection by net.Conn
	others atomic.Int64 // requests during which their connections may be closed
}

// connection is the use of one client connection. Over HTTP/2 it has several requests at once.
type connection struct {
	net.Conn // as the HTTP server knows it

	mu     sync.Mutex
	state  http.ConnState
	since  time.Time
	opened time.Time
	known  bool // a request with a valid token has arrived on it
	held   int  // its requests during which it must not be closed
	others int  // its other requests
	gone   bool // it was closed for another one, so that its requests are not counted any more
}

// shut closes the connection at once. Closing TLS would wait for a client that does not read.
func (c *connection) shut() { _ = c.below().Close() }

// below returns the connection below TLS.
func (c *connection) below() net.Conn {
	if encrypted, ok := c.Conn.(*tls.Conn); ok {
		return encrypted.NetConn()
	}
	return c.Conn
}

// begun notes that a request of the connection has begun, or has been admitted: its header has been received.
func (c *connection) begun() {
	if client, ok := c.below().(*clientConn); ok {
		client.header.restart()
	}
}

// isHeld reports whether the connection has a request during which it must not be closed.
func (c *connection) isHeld() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held > 0
}

// spare returns since when the connection has been closable for another one; false: it must not be closed. Requests without a
// valid token do not advance that time.
func (c *connection) spare() (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known {
		return c.since, c.held == 0
	}
	return c.opened, c.held == 0
}

type connKey struct{}

// begin is the server's ConnContext hook.
func (c *connections) begin(ctx context.Context, conn net.Conn) context.Context {
	now := time.Now()
	one := &connection{Conn: conn, state: http.StateNew, since: now, opened: now}
	c.open.Store(conn, one)
	if client, ok := one.below().(*clientConn); ok {
		client.header.start(one)
	}
	return context.WithValue(ctx, connKey{}, one)
}

// connectionOf returns the connection of ctx; if there is none, a new one that is not tracked.
func connectionOf(ctx context.Context) *connection {
	if c, ok := ctx.Value(connKey{}).(*connection); ok {
		return c
	}
	return new(connection)
}

// hold begins or ends a request during which the connection must not be closed.
func (c *connection) hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held {
		c.held++
		c.known = true
		return
	}
	c.held--
	c.since = time.Now()
}

// know records that a request with a valid token has arrived.
func (c *connection) know() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.since = true, time.Now()
}

// note is the server's ConnState hook.
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
		one.state, one.since = state, time.Now()
	}
}

// closeOldest closes the connection that has not been held for longest, so that a new one can be accepted. A request without a
// valid token does not protect its connection, nor does one with a session's token to the API, except for streams, whose number
// is bounded: otherwise a client that reads no responses could block all others.
func (c *connections) closeOldest() bool {
	for {
		oldest, since := c.oldest()
		if oldest == nil {
			return false
		}
		if now, ok := oldest.spare(); ok && now.Equal(since) { // not used since oldest returned it
			c.drop(oldest)
			return true
		}
	}
}

// oldest returns the connection that has been closable for longest; nil if every one is held.
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
			if !yield(one.(*connection)) { //nolint:forcetypeassert // the map has no other type
				return
			}
		}
	}
}

// settle waits until no connection has a request or expects one, or ctx ends. The listener must be closed.
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

// expectsRequest reports whether the connection has a request, or may still get one; begun is when the listener was closed.
func (c *connection) expectsRequest(begun time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == http.StateActive ||
		c.state == http.StateIdle && time.Since(begun) < idleGrace ||
		c.state == http.StateNew && time.Since(c.since) < newGrace
}
