package policy

import (
	"net/netip"
	"strings"

	"berth/internal/session"
)

// RequestIDHeader names the field by which a request is found in logs, here and at the session's server.
const RequestIDHeader = "X-Request-Id"

// Methods by which nothing changes.
const (
	methodGet     = "GET"
	methodHead    = "HEAD"
	methodOptions = "OPTIONS"
)

// WebSocket is the one protocol that a request may switch to.
const WebSocket = "websocket"

// Request is what the rules know of a request. No rule changes it.
type Request struct {
	ID     string // for [RequestIDHeader]
	Method string
	Target Target // as it came
	Place  Place  // where that leads
	Host   string // as the client wrote it
	Header Header
	Length int64 // of the content in bytes; -1: not known beforehand
	HTTP11 bool  // of this version of HTTP or a later one

	Client netip.Addr // where it comes from; invalid: not known
	Scheme string     // of the address that the client used: "http" or "https"
}

// MethodAllowed returns a CodeMethod error for a method that no session may be asked with. It is looked at before anything
// else is.
func MethodAllowed(method string) error {
	if strings.EqualFold(method, "CONNECT") || strings.EqualFold(method, "TRACE") {
		// A tunnel to wherever the client says, and a request sent back with the credential that we added.
		return session.Errorf(session.CodeMethod, "sessions cannot be asked with %s", method)
	}
	return nil
}

// AllowedMethods is what the field Allow says where a method is refused; others than these are passed on as well.
const AllowedMethods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

// Rewrite turns h, a copy of the request's header, into that of the request which the server gets, and returns its target.
// Nothing of the client's credentials is left, and the server's own is added.
func (r *Route) Rewrite(q *Request, v Verdict, h Header) Target {
	upgrade, trailers := h.get("Upgrade"), h.names("Te", "trailers")
	h.dropHopByHop()
	if trailers {
		h.set("Te", "trailers")
	}
	if v.WebSocket {
		h.switchTo(upgrade)
	}
	sanitizeRequest(h)
	if q.Client.IsValid() {
		h.set("X-Forwarded-For", q.Client.String())
	}
	h.set("X-Forwarded-Host", q.Host)
	h.set("X-Forwarded-Proto", q.Scheme)
	if q.Place.Prefix != "" {
		h.set("X-Forwarded-Prefix", q.Place.Prefix)
	}
	h.set(RequestIDHeader, q.ID)
	h.set("Authorization", r.authorization.Reveal())
	return Target{Path: q.Place.Path, Query: WithoutToken(q.Target.Query), ForceQuery: q.Target.ForceQuery}
}

// sanitizeRequest removes what the server is not to get: the client's credential, what belongs to Berth, and what only Berth may
// say of the client.
func sanitizeRequest(h Header) {
	for name := range h {
		// Servers that make variables of headers, as CGI does, take an underscore for a hyphen.
		if dashed := strings.ToLower(strings.ReplaceAll(name, "_", "-")); strings.Contains(name, "_") &&
			(dashed == "x-real-ip" || strings.HasPrefix(dashed, "x-forwarded") || strings.HasPrefix(dashed, "x-berth-")) {
			delete(h, name)
			continue
		}
		switch {
		case name == "Authorization", name == "Forwarded", name == "X-Real-Ip",
			name == "Expect", // answered here when the content is first read: asking the server as well would only cost time
			strings.HasPrefix(name, "X-Forwarded"), strings.HasPrefix(name, "X-Berth-"):
			delete(h, name)
		}
	}
	if cookies := withoutOwnCookies(h["Cookie"]); len(cookies) > 0 {
		h["Cookie"] = cookies
	} else {
		delete(h, "Cookie")
	}
}

// opensWebSocket reports whether a request is the opening handshake of a WebSocket. An upgrade to anything else is not
// passed on: through another protocol, such as h2c, requests would come that nobody has checked. Nor is one with a
// content, of which the rest would follow into the tunnel.
func (q *Request) opensWebSocket() bool {
	upgrade := q.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], WebSocket) && q.Header.names("Connection", "Upgrade") &&
		q.Method == methodGet && q.Length == 0 && q.HTTP11
}

// isNavigation reports whether a person waits for a page.
func (q *Request) isNavigation() bool {
	mode := q.Header.get("Sec-Fetch-Mode")
	return q.Method == methodGet && strings.Contains(q.Header.get("Accept"), "text/html") && (mode == "" || mode == "navigate")
}
