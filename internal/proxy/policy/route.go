package policy

import (
	"encoding/base64"
	"time"

	"berth/internal/session"
)

// Route is a session's route, prepared for the rules. It is immutable.
type Route struct {
	session.Route
	authorization session.Secret // the server's credential, as the value of an Authorization field
	blocked       []pattern      // calls that are always refused
	silent        []pattern      // calls without a response until they are finished
	landing       string         // path for a browser that opens "/"; "": none
}

// NewRoute reads the patterns of the route's profile; it may have none.
func NewRoute(r session.Route) *Route {
	ready := &Route{
		Route:         r,
		authorization: session.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte(r.Username+":"+r.Credential.Reveal()))),
	}
	if r.Profile != nil {
		ready.blocked, ready.silent = parsePatterns(r.Profile.Blocked), parsePatterns(r.Profile.Silent)
		ready.landing = r.Profile.LandingPath()
	}
	return ready
}

// SameServer reports whether both routes lead to one server, so that connections to it serve either.
func (r *Route) SameServer(other *Route) bool {
	return r.Address == other.Address && r.authorization == other.authorization
}

const (
	// NotRunningRetry is the Retry-After for a session that is not running: about the time that a server takes to start.
	NotRunningRetry = 5 * time.Second
	// WakeRetry is the Retry-After when a start took longer than the request waited.
	WakeRetry = 2 * time.Second
)

// NotRunning returns the error for a request to a session that is not running, with what the user can do: wait if its server is
// being started, else ask the operator, since users cannot start sessions.
func (r *Route) NotRunning(now time.Time) *session.Failure {
	switch wait := r.StartsAt.Sub(now).Round(time.Second); {
	case r.StartsAt.IsZero():
		return session.Errorf(session.CodeNotRunning,
			"the session is not running; ask whoever gave it to you to start it, then try again").After(NotRunningRetry)
	case wait > 0:
		return session.Errorf(session.CodeNotRunning, "the session's server has ended and is started again by itself in %d s; try again then",
			int(wait.Seconds())).After(wait + WakeRetry)
	}
	return session.Errorf(session.CodeNotRunning, "the session is being started; try again in a moment").After(WakeRetry)
}
