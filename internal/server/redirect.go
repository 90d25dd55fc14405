package server

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"berth/internal/httpapi"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// HTTPS says where plain HTTP requests are redirected to.
type HTTPS struct {
	// Serves reports whether a host, a name or an address without its port, is served over TLS.
	Serves func(host string) bool
	// Port is where clients reach such a host over TLS.
	Port func(host string) uint16
}

// RedirectToHTTPS answers every request in plain HTTP: with a redirect to the same address with https, or, where the request
// may have a body or is for a host that is not served, with a problem. It serves nothing else.
func RedirectToHTTPS(to HTTPS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostname(r.Host)
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			httpapi.WriteProblem(w, r, session.Errorf(session.CodeMethod, "this address answers plain HTTP with redirects only: send the request to https"))
		case r.URL.Host != "" || !strings.HasPrefix(r.URL.Path, "/") || !to.Serves(host):
			httpapi.WriteProblem(w, r, session.Errorf(session.CodeMisdirected, "this host is not served here"))
		default:
			h := w.Header()
			h.Set("Location", to.location(host, r))
			h.Set("Cache-Control", "no-store") // the operator may change the port
			w.WriteHeader(http.StatusPermanentRedirect)
		}
	})
}

// location leaves a token in the query out: everyone on the way has read it.
func (to HTTPS) location(host string, r *http.Request) string {
	if at, err := netip.ParseAddr(host); err == nil && at.Is6() {
		host = "[" + host + "]"
	}
	if port := to.Port(strings.Trim(host, "[]")); port != 443 {
		host = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port)))
	}
	location := "https://" + host + r.URL.EscapedPath()
	if query := policy.WithoutToken(r.URL.RawQuery); query != "" {
		location += "?" + query
	}
	return location
}
