package session

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Route is a session's address, credential and token, as the data plane needs them.
type Route struct {
	ID          ID
	Owner       string // empty: nobody
	Address     string // "ip:port"
	Username    string // the server's credential, for HTTP Basic
	Credential  Secret
	Token       Token
	Links       []Link    // shared, read-only
	SignIns     []SignIn  // shared, read-only
	Running     bool      // false: tokens can be checked, but there is no server for requests
	Wakes       bool      // not running, and the next request starts it; see lifecycle.Manager.Wake
	StartsAt    time.Time // not running; when Berth itself starts or has started its server; zero: it does not
	Profile     *Profile  // shared, read-only
	ProfileName string    // of Profile, or the name of one that is gone

	Caller       netip.Addr // of the container on the sessions' network, from where it asks the gateway; invalid: it has none
	GatewayToken Secret     // that the container shows there
	Egress       EgressMode // what the container reaches of the outside
	EgressAllow  []string   // with [EgressListed]; shared, read-only
}

// Routes receives the routes of sessions. The proxy's table implements it; calls are cheap and never fail.
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

// Prober probes a server once, over a connection of its own. Probe returns nil if the server works, and otherwise an error that
// describes the response. The caller sets the time-out with ctx.
type Prober interface {
	Probe(ctx context.Context, t Target) error
	// Busy reports whether one of the profile's busy probes reports work in progress.
	Busy(ctx context.Context, t Target) (bool, error)
}

// ErrUnresponsive is in the chain of a probe's error if the server reports that it is healthy and does not work.
var ErrUnresponsive = errors.New("the server reports that it is healthy and does not work")
