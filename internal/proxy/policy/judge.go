package policy

import (
	"strings"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// Rules are the operator's settings.
type Rules struct {
	MaxBody      int64    // bytes of a request's content
	Wake         bool     // a request starts a session that was stopped as idle
	CrossOrigins []string // of clients that are pages of origins of their own
	Devices      bool     // they can pair with sessions
}

// Action is how a request is handled.
type Action uint8

// The actions.
const (
	Refuse   Action = iota // respond with the verdict's reason
	Wait                   // start the session, and judge again when it runs; respond with the reason if it does not start
	ShowPage               // show a page that opens the session when it runs; start it if its route wakes it
	Redirect               // send a browser to the verdict's location
	Forward                // rewrite the request and send it to the session's server
)

// Verdict is the decision about a request. The zero value refuses it.
type Verdict struct {
	Action Action
	Reason error // a [session.Failure]; nil where the action is Redirect or Forward

	Location string // of a redirect: a path, with a query

	WebSocket bool // the forwarded request is a WebSocket handshake
	Silent    bool // the header timeout does not apply to the forwarded request
}

var errBlocked = session.Errorf(session.CodeForbidden, "this call is not allowed through Berth: the session's image is managed by the operator")

var errWorker = session.Errorf(session.CodeForbidden,
	"a service worker would act for more than this session, or outlive it: open the session at a host name of its own")

// Judge decides about a request by p. The order of the checks discloses least: the token, the session's state, and only then
// the request itself.
func (r *Route) Judge(q *Request, p access.Principal, rules Rules, now time.Time) Verdict {
	if !access.May(p, access.Open, r.ID, "") || q.Place.Session != r.ID {
		return Verdict{Reason: access.Reject(access.Proxy, access.Missing)}
	}
	if err := rules.checkPairing(q); err != nil {
		return Verdict{Reason: err}
	}
	notRunning := error(nil)
	if !r.Running {
		notRunning = r.NotRunning(now)
		if !rules.Wake || !r.Wakes {
			if q.IsNavigation() {
				return Verdict{Action: ShowPage, Reason: notRunning}
			}
			return Verdict{Reason: notRunning}
		}
	}
	if err := rules.checkOrigin(q); err != nil {
		return Verdict{Reason: err}
	}
	switch {
	case notRunning != nil && q.IsNavigation():
		return Verdict{Action: ShowPage, Reason: notRunning}
	case notRunning != nil:
		return Verdict{Action: Wait, Reason: notRunning}
	case q.loadsServiceWorker() && (!q.Place.IsOwnOrigin() || q.Place.ByPort):
		return Verdict{Reason: errWorker}
	case anyMatches(r.blocked, q.Method, q.Place.Path):
		return Verdict{Reason: errBlocked}
	case q.Length > rules.MaxBody:
		return Verdict{Reason: rules.TooLarge()}
	}
	if r.landing != "" && q.Place.IsOwnOrigin() && q.Place.Path == "/" && q.IsNavigation() {
		return Verdict{Action: Redirect, Location: Target{Path: r.landing, Query: WithoutToken(q.Target.Query)}.String()}
	}
	v := Verdict{Action: Forward, WebSocket: q.opensWebSocket()}
	// An event stream may have no events, and some calls send nothing for many minutes.
	v.Silent = v.WebSocket || strings.Contains(q.Header.get("Accept"), eventStream) || anyMatches(r.silent, q.Method, q.Place.Path)
	return v
}

// TooLarge is the reason to refuse a request whose content is too large, whether or not it announced its length.
func (r Rules) TooLarge() error {
	return session.Errorf(session.CodeTooLarge, "the request's body is larger than %d bytes; send less at a time", r.MaxBody)
}
