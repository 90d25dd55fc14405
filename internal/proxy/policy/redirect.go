package policy

import (
	"net/netip"
	"net/url"
	"strings"
)

// redirect rewrites a reference from a session's server, such as a Location. It distinguishes references to the server
// itself, which are moved under the session's prefix, from those to other origins.
//
// References are parsed as browsers do (the URL standard), which accept other forms of slashes, dot segments and hosts than
// RFC 3986.
type redirect struct {
	prefix string   // of the session, without the last slash
	base   string   // raw path of the request as the server knows it, begins with a slash
	hosts  []string // Host headers under which the server may know itself
}

func (r *Route) redirect(q *Request) redirect {
	return redirect{prefix: q.Place.Prefix, base: q.Place.Path, hosts: []string{q.Host, r.Address}}
}

// move returns the reference as the client is to get it. A reference to the server itself, absolute or not, stays
// under the prefix whatever dot segments it has; one to another origin is unchanged. It reports false for an ambiguous
// reference.
func (r redirect) move(reference string) (string, bool) {
	reference = strings.TrimFunc(reference, func(c rune) bool { return c <= ' ' })
	if strings.ContainsFunc(reference, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", false // browsers drop some of these characters, and so join the text around them
	}
	scheme, rest, hasScheme := cutScheme(reference)
	if hasScheme && scheme != "http" && scheme != "https" {
		return reference, true // not a path on this origin
	}
	end := strings.IndexAny(rest, "?#")
	if end < 0 {
		end = len(rest)
	}
	at, tail := strings.ReplaceAll(rest[:end], `\`, "/"), rest[end:]
	if strings.HasPrefix(at, "//") {
		return r.moveAuthority(scheme, at, tail)
	}
	switch {
	case hasScheme:
		return "", false // "http:path" is relative to some and absolute to others
	case strings.HasPrefix(at, "/"):
	case !hasDots(at) && !hasDots(r.base):
		return at + tail, true
	default:
		at = escapeIllegal(r.base[:strings.LastIndexByte(r.base, '/')+1]) + at
	}
	return r.inside(at) + tail, true
}

// moveAuthority moves a reference with a host; at begins with two slashes.
func (r redirect) moveAuthority(scheme, at, tail string) (string, bool) {
	authority, path := strings.TrimLeft(at, "/"), ""
	if i := strings.IndexByte(authority, '/'); i >= 0 {
		authority, path = authority[:i], authority[i:]
	}
	if authority == "" {
		return "", false
	}
	host, port, ok := splitHost(authority[strings.LastIndexByte(authority, '@')+1:])
	if !ok {
		return "", false
	}
	for _, own := range r.hosts {
		ownHost, ownPort, ok := splitHost(own)
		if ok && host == ownHost && samePort(port, ownPort, scheme) {
			return r.inside(path) + tail, true
		}
	}
	if scheme != "" {
		scheme += ":"
	}
	return scheme + "//" + authority + path + tail, true
}

// inside puts an absolute path of the server under the prefix, unless it has the prefix already.
func (r redirect) inside(at string) string {
	at = removeDotSegments(at)
	if at == r.prefix || strings.HasPrefix(at, r.prefix+"/") {
		return at
	}
	return r.prefix + at
}

// cutScheme cuts a scheme off, in lower case.
func cutScheme(reference string) (scheme, rest string, ok bool) {
	for i := range len(reference) {
		switch c := reference[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
		case i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'):
		case i > 0 && c == ':':
			return strings.ToLower(reference[:i]), reference[i+1:], true
		default:
			return "", reference, false
		}
	}
	return "", reference, false
}

// splitHost cuts a host and its port ("" for none) and normalizes the host. It reports false for a host that
// browsers would change: one with characters that are not ASCII, or an IPv4 address in an unusual form.
func splitHost(authority string) (host, port string, ok bool) {
	host = authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:i], strings.TrimLeft(authority[i+1:], "0")
	}
	if literal, isV6 := strings.CutPrefix(host, "["); isV6 {
		addr, err := netip.ParseAddr(strings.TrimSuffix(literal, "]"))
		return addr.String(), port, err == nil && addr.Zone() == ""
	}
	host, err := url.PathUnescape(host)
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if err != nil || host == "" || strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`/\?#@:%<>[]^|`, c) }) {
		return "", "", false
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last != "" && last[0] >= '0' && last[0] <= '9' {
		addr, err := netip.ParseAddr(host)
		return addr.String(), port, err == nil
	}
	return host, port, true
}

// samePort compares the port of a reference with that of a Host header. A Host header without a port may stand for either
// default: the scheme that the client uses is not always known.
func samePort(port, own, scheme string) bool {
	if own == "" {
		return port == "" || port == "80" || port == "443"
	}
	return port == own || port == "" && (own == "80" && scheme != "https" || own == "443" && scheme != "http")
}

// dotSegments are the spellings of "." and "..": browsers treat an escaped dot as a dot.
var dotSegments = map[string]int{".": 1, "%2e": 1, "..": 2, ".%2e": 2, "%2e.": 2, "%2e%2e": 2}

func dots(segment string) int {
	if len(segment) > len("%2e%2e") {
		return 0
	}
	return dotSegments[strings.ToLower(segment)]
}

func hasDots(at string) bool {
	for segment := range strings.SplitSeq(at, "/") {
		if dots(segment) > 0 {
			return true
		}
	}
	return false
}

// removeDotSegments resolves the dot segments of an absolute path; none leads above the root. "" is the root.
func removeDotSegments(at string) string {
	if !hasDots(at) {
		return "/" + strings.TrimPrefix(at, "/")
	}
	var kept []string
	segments := strings.Split(strings.TrimPrefix(at, "/"), "/")
	for i, segment := range segments {
		n := dots(segment)
		if n == 2 && len(kept) > 0 {
			kept = kept[:len(kept)-1]
		}
		switch {
		case n == 0:
			kept = append(kept, segment)
		case i == len(segments)-1:
			kept = append(kept, "") // a directory
		}
	}
	return "/" + strings.Join(kept, "/")
}
