package proxy

import (
	"net/http"
	"strings"
)

// tidyRequest removes what the server is not to get: the client's credential, what belongs to Berth, what only Berth
// may say of the client, and what concerns this connection alone. Hop-by-hop headers are gone already.
func tidyRequest(h http.Header) {
	for name := range h {
		// Servers that make variables of headers, as CGI does, take an underscore for a hyphen.
		if dashed := strings.ToLower(strings.ReplaceAll(name, "_", "-")); strings.Contains(name, "_") &&
			(dashed == "x-real-ip" || strings.HasPrefix(dashed, "x-forwarded") || strings.HasPrefix(dashed, "x-berth-")) {
			delete(h, name)
			continue
		}
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
