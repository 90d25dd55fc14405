package policy

import "strings"

// withoutOwnCookies returns the Cookie headers without Berth's cookies.
func withoutOwnCookies(headers []string) []string {
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
