package proxy

import (
	"io"
	"net/http"
	"strings"
)

// On the path route a session's server shares its origin with Berth and with every other session, and a proxy of the
// operator may stand in front of us. What a server answers may therefore concern its own response and what lies under
// its prefix, and nothing else. The tables below hold the response fields that reach further. Headers of final and
// interim responses go through them; trailers go through [trailerFields] instead.
//
// Fields that look similar and are kept, because they concern the one response or the document in it: Cache-Control,
// Link, Content-Security-Policy, Permissions-Policy, Cross-Origin-*, Access-Control-*, X-Frame-Options, Server-Timing,
// SourceMap.
var deniedFields = set(
	// State that a browser keeps for the whole origin, or for its host.
	"Accept-Ch", "Accept-Ch-Lifetime", "Critical-Ch", // client hints that later requests to any path carry
	"Activate-Storage-Access",
	"Idp-Signin-Status", "Origin-Trial", "Shared-Storage-Write",
	"X-Permitted-Cross-Domain-Policies", // of Flash and PDF readers, for the host
	"Alt-Svc", "Alternate-Protocol",     // other hosts and ports that speak for the origin
	"Clear-Site-Data",
	"Expect-Ct", "Public-Key-Pins", "Public-Key-Pins-Report-Only", "Strict-Transport-Security",
	"Nel", "Report-To", "Reporting-Endpoints", // where to report what happens on the origin
	"Observe-Browsing-Topics",
	"Origin-Agent-Cluster",   // the first answer decides for the origin
	"Service-Worker-Allowed", // a worker for paths above its own
	"Set-Cookie2",
	"Set-Login",
	"Use-As-Dictionary", // its pattern may match any path of the origin

	// Navigation that Location's rules would not see.
	"Refresh",

	// Authentication: a client's credential is for Berth, and the server's is Berth's own affair.
	"Authentication-Control", "Authentication-Info", "Optional-Www-Authenticate", "Www-Authenticate",

	// Commands to a proxy or cache in front of Berth.
	"Cache-Tag", "Edge-Cache-Tag", "Edge-Control", "X-Cache-Tags", "X-Cache-Tag", "Xkey",
	"X-Original-Url", "X-Rewrite-Url",
	"X-Send-File",

	// What Berth says itself.
	requestIDHeader,
)

// deniedPrefixes are those of whole families, in canonical form.
var deniedPrefixes = []string{
	"Akamai-", "Fly-", "Surrogate-", // caches, and replays on another machine
	"X-Middleware-",                           // Next.js: rewrites, and headers of the request
	"Attribution-Reporting-",                  // browser state for the site
	"Proxy-",                                  // hop by hop, and for proxies
	"Sec-Session-",                            // a session that the browser renews for the site
	"Secure-Session-",                         // the same under its new name
	"X-Accel-",                                // nginx: internal redirects, caching, rate
	"X-Berth-",                                // Berth
	"X-Envoy-",                                // Envoy: health of the upstream, retries
	"X-Lighttpd-", "X-Litespeed-", "X-Lsadc-", // files and internal redirects
	"X-Reproxy-", // Perlbal: fetch another URL instead
	"X-Sendfile", // Apache, lighttpd, Cherokee: files of the host
}

// deniedSuffix ends the names of fields that order one provider's caches about, such as Cloudflare-CDN-Cache-Control.
const deniedSuffix = "Cdn-Cache-Control"

// trailerFields are what may stand in a trailer section, of requests and of responses: checksums and results, which
// nobody acts upon who does not look for them there. Any other field could be taken for the header of that name by a
// recipient that merges the two.
var trailerFields = set(
	"Content-Digest", "Repr-Digest", "Digest",
	"Grpc-Message", "Grpc-Status", "Grpc-Status-Details-Bin",
	"Server-Timing",
)

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[http.CanonicalHeaderKey(name)] = true
	}
	return s
}

func isDenied(name string) bool {
	if deniedFields[name] {
		return true
	}
	for _, prefix := range deniedPrefixes {
		if name[0] == prefix[0] && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, deniedSuffix)
}

// filterHeader removes from the header of a response, final or interim, what a server may not say, and moves the paths
// in it under the session's prefix.
func filterHeader(h http.Header, c *call) {
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
		if moved, ok := c.redirect().move(values[0]); ok {
			h[name] = []string{moved}
		} else {
			delete(h, name)
		}
	}
	if cookies := h["Set-Cookie"]; len(cookies) > 0 {
		delete(h, "Set-Cookie")
		for _, cookie := range cookies {
			if moved, ok := movedCookie(cookie, c.prefix()); ok {
				h["Set-Cookie"] = append(h["Set-Cookie"], moved)
			}
		}
	}
}

// dropNamed removes what a Connection header names: it concerned the connection to the server alone.
func dropNamed(h http.Header, connection []string) {
	for _, value := range connection {
		for name := range strings.SplitSeq(value, ",") {
			h.Del(strings.Trim(name, " \t"))
		}
	}
}

// filterTrailer removes what may not stand in a trailer section.
func filterTrailer(t http.Header) {
	for name := range t {
		if !trailerFields[name] {
			delete(t, name)
		}
	}
}

// cookieAttributes are those that a cookie of a session's server may have. Domain is not among them: it would send the
// cookie to other hosts.
var cookieAttributes = map[string]bool{
	"expires": true, "httponly": true, "max-age": true, "partitioned": true, "path": true, "priority": true, "samesite": true, "secure": true,
}

// movedCookie puts the cookie's path under the prefix and keeps of its other attributes those that concern the cookie
// alone. It reports false for a cookie that is ours by name, or has no name, which browsers send as its value only, and
// that may look like one of ours; and for one with control characters, where browsers differ in what they make of it.
func movedCookie(cookie, prefix string) (string, bool) {
	parts := strings.Split(cookie, ";")
	name, _, named := strings.Cut(parts[0], "=")
	if !named || strings.TrimSpace(name) == "" || isOurCookie(parts[0]) || strings.ContainsFunc(cookie, isControl) {
		return "", false
	}
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		if !cookieAttributes[strings.ToLower(name)] {
			continue
		}
		if strings.EqualFold(name, "Path") && strings.HasPrefix(value, "/") {
			part = " Path=" + prefix + value
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ";"), true
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// trailedBody is the body of a response that may have a trailer section, of which it leaves what may stand there.
type trailedBody struct {
	io.ReadCloser
	res *http.Response
}

func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		filterTrailer(b.res.Trailer)
	}
	return n, err
}
