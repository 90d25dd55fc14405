package policy

import (
	"errors"
	"mime"
	"strings"

	"berth/internal/session"
)

// ErrCredentialRefused is in the chain of [Route.Answer]'s error when the server does not accept its own credential.
var ErrCredentialRefused = errors.New("upstream answered 401")

// ErrUpgrade is the error for a response that switches to another protocol than WebSocket, or without a request to switch.
var ErrUpgrade = session.Errorf(session.CodeUpstream, "the session's server switched to a protocol that was not asked for")

var (
	errStatus     = session.Errorf(session.CodeUpstream, "the session's server answered with a status that HTTP does not know")
	errCredential = session.Errorf(session.CodeUpstream,
		"the session's server does not accept Berth's credential; restart the session").Because(ErrCredentialRefused)
)

const (
	statusSwitchingProtocols = 101
	statusUnauthorized       = 401
)

// Response is the head of a final answer, 101 included.
type Response struct {
	Status     int
	Header     Header
	Connection []string // values of the Connection header as the server sent it, if it was removed from Header
	HTTP11     bool     // HTTP/1.1 or later
}

// Answer rewrites the response to a request for the client, in place, or returns why it must not be passed on.
func (r *Route) Answer(q *Request, v Verdict, a Response) error {
	switch {
	case a.Status == statusSwitchingProtocols:
		upgrade := a.Header["Upgrade"]
		if !v.WebSocket || len(upgrade) != 1 || !strings.EqualFold(upgrade[0], WebSocket) || !a.Header.names("Connection", "Upgrade") || !a.HTTP11 {
			return ErrUpgrade
		}
	case a.Status < 200 || a.Status > 599:
		return errStatus
	case a.Status == statusUnauthorized:
		return errCredential // the server refused Berth's credential, not the client's: the client must not be asked for another
	}
	a.Header.dropNamed(a.Connection)
	a.Header.dropHopByHop()
	if a.Status == statusSwitchingProtocols {
		delete(a.Header, "Content-Length")
		a.Header.switchTo(WebSocket)
	}
	r.filter(q, a.Header)
	if q.loadsWorker() {
		a.Header.set("Cache-Control", "no-store") // a replaced script must not come back from a cache
	}
	return nil
}

// AnswerInterim does the same with the header of an interim response, and also removes the fields about the framing of a final
// one.
func (r *Route) AnswerInterim(q *Request, h Header) {
	h.dropHopByHop()
	delete(h, "Content-Length")
	r.filter(q, h)
}

// filter removes from the header of a response, final or interim, the fields that a server may not set, and moves the paths in
// it under the session's prefix.
func (r *Route) filter(q *Request, h Header) {
	for name, values := range h {
		switch {
		case name == "X-Accel-Buffering" && len(values) == 1 && values[0] == "no":
			// Asks nginx to stream this response, which event streams need.
		case isDenied(name):
			delete(h, name)
		}
	}
	for _, name := range []string{"Location", "Content-Location"} {
		values := h[name]
		if len(values) == 0 {
			continue
		}
		if moved, ok := r.redirect(q).move(values[0]); ok {
			h[name] = []string{moved}
		} else {
			delete(h, name)
		}
	}
	if cookies := h["Set-Cookie"]; len(cookies) > 0 {
		delete(h, "Set-Cookie")
		for _, cookie := range cookies {
			if moved, ok := rewriteCookie(cookie, q.Place.Prefix); ok {
				h["Set-Cookie"] = append(h["Set-Cookie"], moved)
			}
		}
	}
}

// MayTrail reports whether a field, in canonical form, is allowed in a trailer section of a request or response.
func MayTrail(name string) bool { return trailerFields[name] }

// FilterTrailer removes the fields that are not allowed in a trailer section.
func FilterTrailer(t Header) {
	for name := range t {
		if !trailerFields[name] {
			delete(t, name)
		}
	}
}

const eventStream = "text/event-stream"

// IsEventStream reports whether a response is a stream of events, which ends only when one side closes it.
func IsEventStream(h Header) bool {
	kind, _, err := mime.ParseMediaType(h.get("Content-Type"))
	return err == nil && kind == eventStream
}
