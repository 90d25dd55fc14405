package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Warnings has one sentence for each setting that weakens security, and for each variable that is not a setting, for the log
// at every start.
func (c Config) Warnings() []string {
	all := slices.Clone(c.Unknown)
	warn := func(weak bool, format string, args ...any) {
		if weak {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	warn(strings.HasPrefix(c.Docker.Host, "unix:"),
		"DOCKER_HOST is a local socket: this process has the rights of root on the engine's host, without certificates")
	warn(!c.Docker.TLSVerify, "DOCKER_TLS_VERIFY is off: a man in the middle between Berth and the engine is not detected")
	warn(c.Session.Runtime == RuntimeProcess,
		"the process runtime isolates nothing: every session runs with the rights of this process")
	warn(c.Server.ACMEEmail != "" && c.Server.ACMEDNSHook == "" && c.Session.Domain != "" && len(c.Server.KeyPairs()) == 0,
		"SESSION_DOMAIN=%s has no certificate: set BERTH_ACME_DNS_HOOK, or BERTH_TLS_CERT and BERTH_TLS_KEY", c.Session.Domain)
	warn(!c.Server.TLS() && !loopback(c.Server.Listen),
		"BERTH_LISTEN=%s is reachable from other machines and not encrypted: set BERTH_TLS_CERT and BERTH_TLS_KEY, or put a TLS proxy in front of it", c.Server.Listen)
	warn(c.Proxy.TrustForwardedProto, "PROXY_TRUST_FORWARDED_PROTO accepts X-Forwarded-Proto from every client: name your proxy in TRUSTED_PROXIES instead")
	warn(c.Database.Use && c.Database.unverified(),
		"the database is on another host and its certificate is not verified: set DB_SSLMODE=verify-full and DB_SSLROOTCERT")
	c.OIDC.warnings(warn)
	c.Models.warnings(warn)
	ip, err := netip.ParseAddr(c.Session.PublishIP)
	warn(err == nil && ip.IsUnspecified(),
		"SESSION_PUBLISH_IP=%s publishes session ports on every address of the Docker host", c.Session.PublishIP)
	return all
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
