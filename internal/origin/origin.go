// Package origin gives every session an origin of its own and finds out whose origin a request was sent to, by its Host header.
//
// A session's server runs pages that its agent has made. On an origin of its own such a page can use neither the API nor another
// session: a browser separates them.
package origin

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"berth/internal/session"
)

// local is the top-level name that browsers resolve to their own machine (RFC 6761, section 6.3), with all names below it.
const local = "localhost"

// Options say where Berth is reached. The zero value gives no session an origin of its own.
type Options struct {
	// Domain has a name for each session below it: a host name in lower case, with a port where it is not that of Public. Empty: none.
	Domain string
	// Public is Berth's own address as its users know it: scheme, host and port. It is required for a Domain. nil: any name
	// that is not a session's is taken as Berth's.
	Public *url.URL
	// Listen is the port that Berth listens on.
	Listen uint16
	// Loopback says that only this machine reaches Berth, so that {id}.localhost leads to a session.
	Loopback bool
	// TLS says that Berth's listeners expect TLS.
	TLS bool
	// Port returns the port that only this session has; 0: it has none. nil: no session has one.
	Port func(session.ID) uint16
}

// Set knows the origins of Berth and of its sessions. It is immutable; nil is a Set in which every origin is Berth's own.
type Set struct {
	public *url.URL
	domain place  // of sessions; zero: none
	local  place  // the same for names below localhost
	scheme string // of Berth's listeners
	port   func(session.ID) uint16
}

// place is where the names of sessions are.
type place struct{ scheme, name, port string }

// New makes a Set. An address without a port has the default port of its scheme.
func New(o Options) *Set {
	scheme, port := "http", strconv.Itoa(int(o.Listen))
	if o.TLS {
		scheme = "https"
	}
	s := &Set{public: o.Public, scheme: scheme, port: o.Port}
	if s.port == nil {
		s.port = func(session.ID) uint16 { return 0 }
	}
	if o.Public != nil {
		if name, ownPort := Cut(o.Public.Host); name == local || o.Domain != "" {
			if name == local {
				scheme, port = o.Public.Scheme, portOf(ownPort, o.Public.Scheme)
				o.Loopback = true
			}
			if o.Domain != "" {
				name, explicit := Cut(o.Domain)
				if explicit == "" {
					explicit = ownPort
				}
				s.domain = place{o.Public.Scheme, name, portOf(explicit, o.Public.Scheme)}
			}
		}
	}
	if o.Loopback {
		s.local = place{scheme, local, port}
	}
	return s
}

// Kind says whose origin a host name stands for.
type Kind uint8

// Every kind.
const (
	Own       Kind = iota // Berth's: the API, and sessions by path
	OfSession             // one session's
	Foreign               // nobody's here: the request was sent to the wrong server, or a name was pointed at this one
)

// Find says whose origin the Host header of a request names, and gives the label of a session's. Whether there is such a session
// is not known here.
func (s *Set) Find(host string) (Kind, string) {
	if s == nil || host == "" {
		return Own, ""
	}
	name, port := Cut(strings.ToLower(host))
	if strings.HasSuffix(name, ".") {
		return Foreign, "" // the same server for DNS, and another origin for browsers
	}
	for _, p := range []place{s.domain, s.local} {
		if label, below := strings.CutSuffix(name, "."+p.name); below && p.name != "" {
			if strings.Contains(label, ".") || label == "" || portOf(port, p.scheme) != p.port && !p.isDefault(port) {
				return Foreign, ""
			}
			return OfSession, label
		}
	}
	if s.public == nil || s.isOwn(name) {
		return Own, ""
	}
	return Foreign, ""
}

// isDefault reports whether a Host header's port is a default one where the place's own port is: a front proxy may say either
// scheme.
func (p place) isDefault(port string) bool {
	return (p.port == "80" || p.port == "443") && (port == "" || port == "80" || port == "443")
}

// FindAtPort is [Set.Find] for a request that came in at the port of a session: its Host header must name Berth and that port.
func (s *Set) FindAtPort(host string, at uint16) Kind {
	name, port := Cut(strings.ToLower(host))
	if port != strconv.Itoa(int(at)) || strings.HasSuffix(name, ".") || s.public != nil && !s.isOwn(name) {
		return Foreign
	}
	return OfSession
}

// isOwn reports whether a name is Berth's own where its public address is known: that address, or one that no page on the
// internet has, by which programs of the operator's network reach Berth.
func (s *Set) isOwn(name string) bool {
	if own, _ := Cut(strings.ToLower(s.public.Host)); name == own || !strings.Contains(name, ".") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil
}

// Way is how a client gets to a session.
type Way string

// Every way. The values are in the API.
const (
	ByHost      Way = "host"      // a name below SESSION_DOMAIN
	ByPort      Way = "port"      // a port of its own
	ByLocalhost Way = "localhost" // a name below localhost, which browsers on the machine itself resolve, and most programs do not
	ByPath      Way = "path"      // below Berth's own origin, where no browser shows a session
)

// ForBrowsers reports whether a browser gets to a session this way, which is then an origin of its own.
func (w Way) ForBrowsers() bool { return w != ByPath }

// ForPrograms reports whether programs get to a session this way with the machine's own resolver.
func (w Way) ForPrograms() bool { return w != ByLocalhost }

// Address is one address of a session.
type Address struct {
	Way Way
	URL string // ends with a slash
}

// IsSecure reports whether a browser can sign in at the address.
func (a Address) IsSecure() bool {
	scheme, rest, _ := strings.Cut(a.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	return IsSecure(scheme, host)
}

// IsSecure reports whether browsers treat a host as secure, so that they keep a cookie which only secure hosts get: with TLS, or
// localhost and the names below it, which does not leave the machine.
func IsSecure(scheme, host string) bool {
	name, _ := Cut(strings.ToLower(host))
	return scheme == "https" || name == local || strings.HasSuffix(name, "."+local)
}

// Of lists the addresses of a session's own origins, the one for most clients first. Empty: it has none.
func (s *Set) Of(id session.ID) []Address {
	if s == nil {
		return nil
	}
	var all []Address
	if s.domain.name != "" {
		all = append(all, Address{ByHost, s.domain.url(Label(id))})
	}
	if port := s.port(id); port != 0 {
		all = append(all, Address{ByPort, s.atPort(local, port)})
	}
	if s.local.name != "" && (s.domain.name == "" || s.local.scheme == "http") { // no certificate is for it beside the domain's
		all = append(all, Address{ByLocalhost, s.local.url(Label(id))})
	}
	return all
}

// All is [Set.Of], and the address below Berth's own where that is known.
func (s *Set) All(id session.ID) []Address {
	all := s.Of(id)
	switch {
	case s == nil:
	case s.public != nil:
		all = append(all, Address{ByPath, s.public.Scheme + "://" + s.public.Host + Path(id)})
	case s.local.name != "":
		all = append(all, Address{ByPath, s.scheme + "://" + local + ":" + s.local.port + Path(id)})
	}
	return all
}

// Path is where a session is below Berth's own address.
func Path(id session.ID) string { return "/s/" + string(id) + "/" }

// atPort is the address of a port of Berth's own host, which is name where it is not known.
func (s *Set) atPort(name string, port uint16) string {
	if s.public != nil {
		name, _ = Cut(s.public.Host)
	}
	return s.scheme + "://" + name + ":" + strconv.Itoa(int(port)) + "/"
}

// From returns the address of the session's own origin for a client that used a Host header at Berth's own; false: there is none.
func (s *Set) From(id session.ID, host string) (string, bool) {
	all := s.Of(id)
	if len(all) == 0 {
		return "", false
	}
	name, _ := Cut(strings.ToLower(host))
	if at, err := netip.ParseAddr(strings.Trim(name, "[]")); name == local || err == nil && at.IsLoopback() {
		return all[len(all)-1].URL, true
	}
	return all[0].URL, true
}

func (p place) url(label string) string {
	host := label + "." + p.name
	if portOf("", p.scheme) != p.port {
		host = net.JoinHostPort(host, p.port)
	}
	return p.scheme + "://" + host + "/"
}

// Cut splits a Host header into its name, an IPv6 address with its brackets, and its port, which may be empty.
func Cut(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return host, ""
	}
	return host[:i], host[i+1:]
}

// portOf returns the port, or the scheme's default one for an empty port.
func portOf(port, scheme string) string {
	switch {
	case port != "":
		return port
	case scheme == "https":
		return "443"
	}
	return "80"
}
