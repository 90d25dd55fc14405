// Package policy holds the rules of the data plane: which request may go to a session's server and as what, and what of its
// answer may go to the client. Values go in and values come out: there is no connection, no clock and no lock.
//
// It knows the form of HTTP messages, principals and routes. It does not know who carries the messages: net/http is none of
// its dependencies, and every way in (by path, by host name, by port) and every transport is held to the same rules.
//
// A request takes three steps. [Route.Judge] says what becomes of it, [Route.Rewrite] turns it into the one that the server
// gets, and [Route.Answer] does the same for the server's answer.
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

// dropHopByHop removes what concerned one connection alone.
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
