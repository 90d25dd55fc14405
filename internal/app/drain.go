package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// idleGrace is how long connections without a request are kept open for one that is on its way, whose answer then says
	// that there can be no other.
	idleGrace = 250 * time.Millisecond
	// newGrace is how long the first request of a connection may take to arrive.
	newGrace = time.Second
	// settlePause is how often it is looked whether everybody has gone.
	settlePause = 5 * time.Millisecond
)

// drain lets what is in flight finish, for a bounded time: first the requests, those included that are on their way on
// connections that are open already, then the operations that they have begun. Sessions go on running.
func (a *App) drain(ctx context.Context) error {
	a.tell(stateStopping)
	a.reconciled.Store(false)
	close(a.draining)
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Server.DrainTimeout.Duration())
	defer cancel()
	if n := a.proxy.InFlight(); n > 0 {
		a.log.InfoContext(ctx, "waiting for requests in flight", "requests", n, "at_most", a.cfg.Server.DrainTimeout.String())
	}
	var parts errgroup.Group
	quiet := make(chan struct{}) // nobody can come any more
	parts.Go(func() error { return a.proxy.Drain(ctx, quiet) })
	parts.Go(func() error {
		defer close(quiet)
		return a.hangUp(ctx)
	})
	if err := errors.Join(parts.Wait(), a.manager.Close(ctx)); err != nil {
		a.log.WarnContext(ctx, "not everything in flight could finish", "error", err)
	}
	return nil
}

// hangUp accepts no more connections and closes those that there are, each when it has no request. [http.Server.Shutdown]
// does not suffice: once it has begun, what is read is dropped without an answer, on a connection too that was accepted a
// moment before.
func (a *App) hangUp(ctx context.Context) error {
	if err := ignoreClosed(a.socket.Close()); err != nil {
		a.log.WarnContext(ctx, "the listener was not closed in good order", "error", err)
	}
	<-a.deaf
	a.connections.settle(ctx)
	if err := a.server.Shutdown(ctx); err != nil {
		return errors.Join(err, a.server.Close())
	}
	return nil
}

// closing has answers say, once Berth drains, that their connection ends with them.
func (a *App) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-a.draining:
			if r.Header.Get("Upgrade") == "" { // the connection is to be another protocol's
				w.Header().Set("Connection", "close")
			}
		default:
		}
		next.ServeHTTP(w, r)
	})
}

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
	held   bool // such a request is being answered
}

// spare is since when a connection could have been closed for another one. Who has never shown a valid token does not make
// it later by asking again.
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

// hold notes whether a request with a valid token is being answered on the connection of ctx.
func (c *connections) hold(ctx context.Context, held bool) {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if u, ok := c.open[conn]; ok { // else it is another protocol's, or closed
		u.held, u.known = held, u.known || held
		if !held {
			u.since = time.Now()
		}
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

// closeOldest closes the connection that has been without a request with a valid token for longest, so that a new one can be
// accepted. A request without one holds no place: whoever reads no answers could otherwise keep everybody else out.
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

// settle waits until no connection has a request, or is likely to get one, or ctx ends. Nobody can connect meanwhile.
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
