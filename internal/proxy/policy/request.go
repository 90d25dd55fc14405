package policy

import (
	"net/netip"
	"strings"

	"berth/internal/origin"
	"berth/internal/session"
)

// RequestIDHeader is the field with the request ID, which is in the logs of Berth and of the session's server.
const RequestIDHeader = "X-Request-Id"

// Safe methods.
const (
	methodGet     = "GET"
	methodHead    = "HEAD"
	methodOptions = "OPTIONS"
)

// WebSocket is the only protocol that a request may switch to.
const WebSocket = "websocket"

// Request is the part of a request that the rules use. No rule changes it.
type Request struct {
	ID     string // for [RequestIDHeader]
	Method string
	Target Target // as received
	Place  Place  // what the target addresses
	Host   string // as the client sent it
	Header Header
	Length int64 // of the content in bytes; -1: not announced
	HTTP11 bool  // HTTP/1.1 or later

	Client netip.Addr // the client's address; invalid: not known
	Scheme string     // of the address that the client used: "http" or "https"
}

// MethodAllowed returns a CodeMethod error for a method that is never forwarded. It is checked first.
func MethodAllowed(method string) error {
	if strings.EqualFold(method, "CONNECT") || strings.EqualFold(method, "TRACE") {
		// CONNECT opens a tunnel to any host; TRACE returns the request with the credential that Berth added.
		return session.Errorf(session.CodeMethod, "sessions cannot be asked with %s", method)
	}
	return nil
}

// AllowedMethods is the Allow field of the response to a refused method. Methods that it does not list are forwarded too.
const AllowedMethods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

// Rewrite turns h, a copy of the request's header, into that of the request which the server gets, and returns its target.
// It removes the client's credentials and adds the server's own.
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

// sanitizeRequest removes the fields that the server must not get: the client's credential, Berth's own fields, and those by
// which only Berth may describe the client.
func sanitizeRequest(h Header) {
	for name := range h {
		// Servers that turn headers into variables, as CGI does, treat an underscore as a hyphen.
		if dashed := strings.ToLower(strings.ReplaceAll(name, "_", "-")); strings.Contains(name, "_") &&
			(dashed == "x-real-ip" || strings.HasPrefix(dashed, "x-forwarded") || strings.HasPrefix(dashed, "x-berth-")) {
			delete(h, name)
			continue
		}
		switch {
		case name == "Authorization", name == "Forwarded", name == "X-Real-Ip",
			name == "Expect", // Berth responds to it when the content is first read; asking the server too would only cost time
			strings.HasPrefix(name, "X-Forwarded"), strings.HasPrefix(name, "X-Berth-"):
			delete(h, name)
		}
	}
	if referer := h.get("Referer"); strings.Contains(referer, "?") { // a style sheet or a script may have been loaded with a token
		h.set("Referer", addressWithoutToken(referer))
	}
	if cookies := forwardedCookies(h["Cookie"]); len(cookies) > 0 {
		h["Cookie"] = cookies
	} else {
		delete(h, "Cookie")
	}
}

// opensWebSocket reports whether a request is the opening handshake of a WebSocket. An upgrade to anything else is not
// forwarded: another protocol, such as h2c, would carry requests that were not checked. Nor is one with content, the rest of
// which would follow into the tunnel.
func (q *Request) opensWebSocket() bool {
	upgrade := q.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], WebSocket) && q.Header.names("Connection", "Upgrade") &&
		q.Method == methodGet && q.Length == 0 && q.HTTP11
}

// IsNavigation reports whether a browser navigates to the page for a user.
func (q *Request) IsNavigation() bool {
	mode := q.Header.get("Sec-Fetch-Mode")
	return q.Method == methodGet && q.AcceptsHTML() && (mode == "" || mode == "navigate")
}

// AcceptsHTML reports whether the client shows HTML.
func (q *Request) AcceptsHTML() bool { return strings.Contains(q.Header.get("Accept"), "text/html") }

// loadsServiceWorker reports whether a browser loads the script of a worker that will act for pages to come.
func (q *Request) loadsServiceWorker() bool {
	return len(q.Header["Service-Worker"]) > 0 || q.Header.get("Sec-Fetch-Dest") == "serviceworker"
}

// loadsWorker reports whether a browser loads the script of a worker, which may outlive the page that asked for it.
func (q *Request) loadsWorker() bool {
	return len(q.Header["Service-Worker"]) > 0 || strings.HasSuffix(q.Header.get("Sec-Fetch-Dest"), "worker")
}

// Challenges returns the WWW-Authenticate values for a program's request without a valid credential. A browser gets none: it would
// ask its user for a password, on a page's own fetch again and again, and keep it for the whole origin.
func (q *Request) Challenges() []string {
	if q.IsNavigation() || len(q.Header["Sec-Fetch-Mode"]) > 0 {
		return nil
	}
	return []string{`Bearer realm="berth"`, `Basic realm="berth", charset="UTF-8"`}
}

// IsSecure reports whether browsers treat the address that the client used as secure; see [origin.IsSecure].
func (q *Request) IsSecure() bool { return origin.IsSecure(q.Scheme, q.Host) }
