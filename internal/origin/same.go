package origin

import (
	"net/url"
	"strings"
)

// Same compares an Origin header (RFC 6454, section 6.2; "null" is never the same) with the scheme and the Host header of a request.
func Same(origin, scheme, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme != scheme {
		return false
	}
	if u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return false
	}
	return withoutDefaultPort(u.Host, scheme) == withoutDefaultPort(host, scheme)
}

func withoutDefaultPort(host, scheme string) string {
	host = strings.ToLower(host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}
