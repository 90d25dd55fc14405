package proxy

import (
	"net/http"
	"net/url"
	"strings"
)

// tidyRequest removes what the server is not to get: the client's credential, what belongs to Berth, what only Berth
// may say of the client, and what concerns this connection alone. Hop-by-hop headers are gone already.
func tidyRequest(h http.Header) {
	for name := range h {
		switch {
		case name == "Authorization", name == "Forwarded", name == "X-Real-Ip",
			strings.HasPrefix(name, "X-Forwarded"), strings.HasPrefix(name, "X-Berth-"):
			delete(h, name)
		case name == "Expect":
			// Go's server answers it when the body is first read; asking the server behind as well would only cost time.
			delete(h, name)
		case name == "Idempotency-Key", name == "X-Idempotency-Key":
			// net/http takes these for permission to send a POST again. The servers behind do not keep such a promise, so
			// the name is spelt in a way, equal on the wire, that it does not recognise.
			h[strings.ToLower(name)] = h[name]
			delete(h, name)
		}
	}
	if upgrade := h["Upgrade"]; len(upgrade) > 0 && (len(upgrade) > 1 || !strings.EqualFold(upgrade[0], "websocket")) {
		// Through a tunnel of another protocol, such as h2c, requests would come that nobody has checked.
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
	if cookies := foreignCookies(h["Cookie"]); len(cookies) > 0 {
		h["Cookie"] = cookies
	} else {
		delete(h, "Cookie")
	}
}

// foreignCookies returns the Cookie headers without the cookies of ours.
func foreignCookies(headers []string) []string {
	var kept []string
	for _, header := range headers {
		var pairs []string
		for pair := range strings.SplitSeq(header, ";") {
			if pair = strings.TrimSpace(pair); pair != "" && !isOurCookie(pair) {
				pairs = append(pairs, pair)
			}
		}
		if len(pairs) > 0 {
			kept = append(kept, strings.Join(pairs, "; "))
		}
	}
	return kept
}

// isOurCookie reports whether a cookie pair has one of our names, berth_…, with or without the prefixes that browsers
// enforce.
func isOurCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.ToLower(strings.TrimSpace(name))
	name = strings.TrimPrefix(strings.TrimPrefix(name, "__host-"), "__secure-")
	return strings.HasPrefix(name, "berth_")
}

// originWide are response headers that speak for the whole origin, which on the path route is Berth's and every
// session's, not this server's alone.
var originWide = []string{
	"Alt-Svc", "Clear-Site-Data", "Service-Worker-Allowed", "Strict-Transport-Security",
	"Www-Authenticate", "Proxy-Authenticate", requestIDHeader,
}

// tidyResponse removes what a server may not say on our origin, and moves its absolute paths under the session's
// prefix.
func tidyResponse(res *http.Response, c *call) {
	for _, name := range originWide {
		res.Header.Del(name)
	}
	for name := range res.Header {
		if strings.HasPrefix(name, "X-Berth-") {
			delete(res.Header, name)
		}
	}
	if location := res.Header.Get("Location"); location != "" {
		res.Header.Set("Location", movedLocation(location, c.prefix(), c.in.Host, c.entry.route.Address))
	}
	if cookies := res.Header["Set-Cookie"]; len(cookies) > 0 {
		delete(res.Header, "Set-Cookie")
		for _, cookie := range cookies {
			if !isOurCookie(cookie) {
				res.Header.Add("Set-Cookie", movedCookie(cookie, c.prefix()))
			}
		}
	}
}

// movedLocation puts an absolute path on one of the server's own hosts under the prefix. Locations elsewhere, relative
// ones and those that are there already are left alone.
func movedLocation(location, prefix string, hosts ...string) string {
	u, err := url.Parse(location)
	if err != nil || u.Opaque != "" {
		return location
	}
	own := u.Host == ""
	for _, host := range hosts {
		own = own || strings.EqualFold(u.Host, host)
	}
	if !own || u.Host == "" && !strings.HasPrefix(location, "/") {
		return location
	}
	moved := url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery, Fragment: u.Fragment, RawFragment: u.RawFragment}
	at := moved.EscapedPath()
	if at == "" {
		at = "/"
	}
	if at == prefix || strings.HasPrefix(at, prefix+"/") {
		prefix = ""
	}
	moved.Path, moved.RawPath = "", ""
	return prefix + at + moved.String()
}

// movedCookie puts the cookie's path under the prefix and takes away its domain, by which it would reach other hosts.
func movedCookie(cookie, prefix string) string {
	parts := strings.Split(cookie, ";")
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case strings.EqualFold(name, "Domain"):
			continue
		case strings.EqualFold(name, "Path") && strings.HasPrefix(value, "/"):
			part = " Path=" + prefix + value
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ";")
}
