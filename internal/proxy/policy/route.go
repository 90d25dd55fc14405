package policy

import (
	"encoding/base64"
	"time"

	"berth/internal/session"
)

// Route is a session's route, made ready for the rules. It never changes.
type Route struct {
	session.Route
	authorization session.Secret // the server's own credential, as the Authorization field of a request has it
	blocked       []pattern      // calls that nobody may make
	silent        []pattern      // calls that say nothing until they are finished
}

// NewRoute reads the patterns of the route's profile; it may have none.
func NewRoute(r session.Route) *Route {
	ready := &Route{
		Route:         r,
		authorization: session.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte(r.Username+":"+r.Credential.Reveal()))),
	}
	if r.Profile != nil {
		ready.blocked, ready.silent = parsePatterns(r.Profile.Blocked), parsePatterns(r.Profile.Silent)
	}
	return ready
}

// SameServer reports whether both routes lead to one server, so that connections to it serve either.
func (r *Route) SameServer(other *Route) bool {
	return r.Address == other.Address && r.authorization == other.authorization
}

const (
	// NotRunningRetry is after how long it is worth trying again with a session that is not running: about as long as a
	// server takes to start.
	NotRunningRetry = 5 * time.Second
	// WakeRetry is the same after a wait for a start that was too short.
	WakeRetry = 2 * time.Second
)

// NotRunning says to whoever uses a session that does not run what there is to do: to wait, where its server is started
// anyway. To start a session is not a user's to do.
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
