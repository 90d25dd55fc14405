package server

import (
	"net/http"
	"net/netip"
	"strings"

	"berth/internal/origin"
)

// HSTSHeader tells browsers to use https only for the host of a response. The proxy removes it from what sessions' servers answer.
const HSTSHeader = "Strict-Transport-Security"

const hstsYear = "max-age=31536000"

// secured adds the HSTS header to responses over Berth's own TLS. Hosts below this one are not Berth's to decide about.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && mayRequireTLS(r.Host) {
			w.Header().Set(HSTSHeader, hstsYear)
		}
		next.ServeHTTP(w, r)
	})
}

// mayRequireTLS reports whether browsers may be told to use https only for a host. localhost has other programs on other
// ports, for which the browser would do the same; for addresses it does nothing.
func mayRequireTLS(host string) bool {
	host = hostname(host)
	_, err := netip.ParseAddr(host)
	return err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost")
}

// hostname is the name or address in a Host header, in lower case and without the port.
func hostname(host string) string {
	host, _ = origin.Cut(host)
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
