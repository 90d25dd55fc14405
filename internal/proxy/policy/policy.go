// Package policy holds the rules of the data plane: which requests are forwarded to a session's server and how they are
// rewritten, and which parts of its response the client gets. Its functions are pure: no connection, no clock, no lock.
//
// It knows the form of HTTP messages, principals and routes. It does not know how messages are transported: net/http is none
// of its dependencies, and every form of addressing (path, host name, port) and every transport follows the same rules.
//
// A request takes three steps. [Route.Judge] decides about it, [Route.Rewrite] turns it into the request that the server gets,
// and [Route.Answer] turns the server's response into the one that the client gets.
package policy

import (
	"net/textproto"
	"strings"
)

// Header is the header of a message: values by the canonical form of their field's name. It has the layout of
// net/http's, so that a conversion copies nothing.
type Header map[string][]string

func (h Header) set(name, value string) { h[name] = []string{value} }

// get returns the first value of a field; "" if there is none.
func (h Header) get(name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// names reports whether a field whose values are lists, such as Connection, has the token in one of them.
func (h Header) names(field, token string) bool {
	for _, value := range h[field] {
		for entry := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(entry, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// hopByHop are the fields that concern one connection (RFC 9110, section 7.6.1), in canonical form.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// dropHopByHop removes the fields that concern one connection only.
func (h Header) dropHopByHop() {
	h.dropNamed(h["Connection"])
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// dropNamed removes the fields that values of a Connection header name.
func (h Header) dropNamed(connection []string) {
	for _, value := range connection {
		for name := range strings.SplitSeq(value, ",") {
			delete(h, textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t")))
		}
	}
}

// switchTo adds the fields of an upgrade, which dropHopByHop has removed.
func (h Header) switchTo(protocol string) {
	h.set("Connection", "Upgrade")
	h.set("Upgrade", protocol)
}

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[textproto.CanonicalMIMEHeaderKey(name)] = true
	}
	return s
}
