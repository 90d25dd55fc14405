package session

import (
	"context"
	"errors"
	"time"
)

// Route says where a running session is and who may go there. The data plane works from routes alone.
type Route struct {
	ID         ID
	Address    string // "ip:port"
	Username   string // the server's credential, for HTTP Basic
	Credential Secret
	Token      Token
	Running    bool      // false: the token may be checked, but there is no server to send a request to
	Wakes      bool      // not running, and the next request brings it up; see lifecycle.Manager.Wake
	StartsAt   time.Time // not running, and its server is started at this time or was already, without anybody's doing; zero: it is not
	Profile    *Profile  // shared, never changed
}

// Routes is told where sessions are. The proxy's table implements it; calls are cheap and never fail.
type Routes interface {
	Set(Route)
	Remove(ID)
}

// Target is a server to probe.
type Target struct {
	Address    string // "ip:port"
	Credential Secret
	Profile    *Profile
}

// Prober asks a server once, over a connection of its own, whether it works. It returns nil when it does, and an
// error that says what it saw otherwise. The caller bounds the wait with ctx.
type Prober interface {
	Probe(ctx context.Context, t Target) error
	// Busy reports whether the server is at work of its own, as the profile says how to find out.
	Busy(ctx context.Context, t Target) (bool, error)
}

// ErrUnresponsive is in the chain of a probe's error when the server says that it is well and does no work.
var ErrUnresponsive = errors.New("the server says that it is well and does not work")
