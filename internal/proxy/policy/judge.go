package policy

import (
	"strings"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// Rules are those that the operator sets.
type Rules struct {
	MaxBody int64 // bytes of a request's content
	Wake    bool  // a request starts a session that was stopped as idle
}

// Action is what is done with a request.
type Action uint8

// Every action.
const (
	Refuse   Action = iota // answer with the verdict's reason
	Wait                   // start the session, and judge again when it runs; answer with the reason if it does not
	ShowPage               // start the session, and show a page meanwhile that asks again
	Forward                // rewrite the request and send it to the session's server
)

// Verdict is what becomes of a request. The zero value refuses it.
type Verdict struct {
	Action Action
	Reason error // a [session.Failure]; nil where the action is Forward

	WebSocket bool // of what is forwarded: it asks to become one
	Silent    bool // of what is forwarded: its server may take as long as it likes to begin its answer
}

var errBlocked = session.Errorf(session.CodeForbidden, "this call is not allowed through Berth: the session's image is managed by the operator")

// Judge says what becomes of a request by p. The order gives least away: the token, the session's state, and only then the
// request itself.
func (r *Route) Judge(q *Request, p access.Principal, rules Rules, now time.Time) Verdict {
	if !access.May(p, access.Open, r.ID) || q.Place.Session != r.ID {
		return Verdict{Reason: access.Reject(access.Proxy, access.Missing)}
	}
	notRunning := error(nil)
	if !r.Running {
		notRunning = r.NotRunning(now)
		if !rules.Wake || !r.Wakes {
			return Verdict{Reason: notRunning}
		}
	}
	if err := checkOrigin(q); err != nil {
		return Verdict{Reason: err}
	}
	switch {
	case notRunning != nil && q.isNavigation():
		return Verdict{Action: ShowPage, Reason: notRunning}
	case notRunning != nil:
		return Verdict{Action: Wait, Reason: notRunning}
	case anyMatches(r.blocked, q.Method, q.Place.Path):
		return Verdict{Reason: errBlocked}
	case q.Length > rules.MaxBody:
		return Verdict{Reason: rules.TooLarge()}
	}
	v := Verdict{Action: Forward, WebSocket: q.opensWebSocket()}
	// What is told as it happens may have nothing to tell, and some calls work in silence for many minutes.
	v.Silent = v.WebSocket || strings.Contains(q.Header.get("Accept"), eventStream) || anyMatches(r.silent, q.Method, q.Place.Path)
	return v
}

// TooLarge is why a request with too much content is refused, whether it has said so beforehand or not.
func (r Rules) TooLarge() error {
	return session.Errorf(session.CodeTooLarge, "the request's body is larger than %d bytes; send less at a time", r.MaxBody)
}
