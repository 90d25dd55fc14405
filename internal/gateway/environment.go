package gateway

import (
	"net/netip"
	"net/url"

	"berth/internal/session"
)

// What containers know of the gateway.
const (
	TokenVariable = "BERTH_GATEWAY_TOKEN" // variable with the session's gateway token
	URLVariable   = "BERTH_GATEWAY"       // variable with the gateway's base URL
)

// URL is the gateway's base URL, without a slash at its end.
func URL(at netip.AddrPort) string { return "http://" + at.String() }

// Environment returns the variables of every container that uses the gateway at this address.
func Environment(at netip.AddrPort, token session.Secret) map[string]string {
	return map[string]string{URLVariable: URL(at), TokenVariable: token.Reveal()}
}

// ProxyEnvironment returns the variables by which programs use the gateway as their proxy. They are a comfort: where they are not used,
// names lead to the gateway as well, and nothing else does.
func ProxyEnvironment(at netip.AddrPort, token session.Secret) map[string]string {
	proxy := (&url.URL{Scheme: "http", Host: at.String(), User: url.UserPassword("berth", token.Reveal())}).String()
	direct := "localhost,127.0.0.1,::1," + at.Addr().String()
	return map[string]string{
		"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct,
		"http_proxy": proxy, "https_proxy": proxy, "no_proxy": direct,
	}
}
