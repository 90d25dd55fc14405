package policy

import (
	"slices"
	"strings"

	"berth/internal/origin"
	"berth/internal/session"
)

// cookiePrefix makes browsers accept a cookie from its own host and by TLS alone, and send it to that host alone.
const cookiePrefix = "__Host-berth-"

// CookieName is the name of the cookie of a session's sign-ins. It has the session's label, because ports of one host share
// their cookies.
func CookieName(id session.ID) string { return cookiePrefix + origin.Label(id) }

// Cookies returns the values of all cookies of a name.
func (q *Request) Cookies(name string) (values []session.Secret) {
	for _, header := range q.Header["Cookie"] {
		for pair := range strings.SplitSeq(header, ";") {
			if own, value, _ := strings.Cut(strings.TrimSpace(pair), "="); own == name {
				values = append(values, session.Secret(value))
			}
		}
	}
	return values
}

// OwnCookieNames returns the names of Berth's cookies that a request has, each once: at most so many.
func (q *Request) OwnCookieNames(most int) (names []string) {
	for _, header := range q.Header["Cookie"] {
		for pair := range strings.SplitSeq(header, ";") {
			name, _, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if strings.HasPrefix(name, cookiePrefix) && isOurCookie(name) && !slices.Contains(names, name) && len(names) < most {
				names = append(names, name)
			}
		}
	}
	return names
}

// MayUseCookie reports whether a browser's cookies may admit a request. To a browser sibling hosts and other ports of a host are the
// same site, and it sends cookies with what their pages ask for; so that only requests of the session's own pages count, and
// navigations of the whole window, which show the page to nobody but its user.
func (q *Request) MayUseCookie() bool {
	if !q.Place.IsOwnOrigin() {
		return false
	}
	switch origins := q.Header["Origin"]; {
	case len(origins) == 1:
		return origin.Same(origins[0], q.Scheme, q.Host)
	case len(origins) > 1:
		return false
	}
	switch q.Header.get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "none", "same-site", "cross-site":
		return isSafe(q.Method) && q.Header.get("Upgrade") == "" && q.Header.get("Sec-Fetch-Mode") == "navigate" && q.Header.get("Sec-Fetch-Dest") == "document"
	}
	return false
}

// maxForwarded bounds the cookies that a session's server gets, in bytes. OpenCode refuses a header of more than 16 KiB, and a page
// next door can make a browser send more than that.
const maxForwarded = 8 << 10

// forwardedCookies returns the Cookie headers without Berth's cookies, and without those that do not fit.
func forwardedCookies(headers []string) []string {
	var kept []string
	size := 0
	for _, header := range headers {
		var pairs []string
		for pair := range strings.SplitSeq(header, ";") {
			pair = strings.TrimSpace(pair)
			if pair == "" || isOurCookie(pair) || size+len(pair)+2 > maxForwarded {
				continue
			}
			size += len(pair) + 2
			pairs = append(pairs, pair)
		}
		if len(pairs) > 0 {
			kept = append(kept, strings.Join(pairs, "; "))
		}
	}
	return kept
}

// isOurCookie reports whether a cookie pair has one of our names, berth-… or berth_…, with or without the prefixes that browsers
// enforce.
func isOurCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.ToLower(strings.TrimSpace(name))
	name = strings.TrimPrefix(strings.TrimPrefix(name, "__host-"), "__secure-")
	return strings.HasPrefix(name, "berth-") || strings.HasPrefix(name, "berth_")
}

// cookieAttributes are those that a cookie of a session's server may have. Domain is not among them: it would send the
// cookie to other hosts.
var cookieAttributes = map[string]bool{
	"expires": true, "httponly": true, "max-age": true, "partitioned": true, "path": true, "priority": true, "samesite": true, "secure": true,
}

// rewriteCookie puts the cookie's path under the prefix and keeps of its other attributes those that concern the cookie
// alone. It reports false for a cookie with one of our names; for one without a name, which browsers send as its value
// only, so that it could look like one of ours; and for one with control characters, which browsers interpret differently.
func rewriteCookie(cookie, prefix string) (string, bool) {
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
