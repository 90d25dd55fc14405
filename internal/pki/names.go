package pki

import (
	"crypto/x509"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// hostLabel is one label of a host name: letters, digits and inner hyphens or underscores, at most 63 characters.
const hostLabel = `[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?`

var hostName = regexp.MustCompile(`^` + hostLabel + `(\.` + hostLabel + `)*$`)

// developmentHosts are the names of an engine on this machine, also as seen from a container.
func developmentHosts() []string {
	return []string{"localhost", "127.0.0.1", "::1", "host.docker.internal"}
}

// serverNames turns host names and addresses into subject alternative names: without duplicates, in the given order.
func serverNames(hosts []string, env Environment) (dns []string, ips []net.IP, err error) {
	switch env {
	case Development, Test, "":
		hosts = append(slices.Clone(hosts), developmentHosts()...)
	case Staging, Production:
	default:
		return nil, nil, fmt.Errorf("environment %q is unknown: use development, test, staging or production", env)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(strings.Trim(host, "[]")); ip != nil {
			if ip.IsUnspecified() {
				return nil, nil, fmt.Errorf("host %q is the wildcard address: give the address that clients connect to", host)
			}
			if !slices.ContainsFunc(ips, ip.Equal) {
				ips = append(ips, ip)
			}
			continue
		}
		name := strings.ToLower(host)
		if len(name) > 253 || !hostName.MatchString(name) {
			return nil, nil, fmt.Errorf("host %q is neither a host name nor an IP address (no scheme, no port)", host)
		}
		if !slices.Contains(dns, name) {
			dns = append(dns, name)
		}
	}
	if len(dns)+len(ips) == 0 {
		return nil, nil, fmt.Errorf("%s %w", env, ErrNoHosts)
	}
	return dns, ips, nil
}

// checkHosts checks that a server certificate covers every name and address.
func checkHosts(cert *x509.Certificate, hosts []string) error {
	dns, ips, err := serverNames(hosts, Production)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		dns = append(dns, ip.String())
	}
	missing := slices.DeleteFunc(dns, func(host string) bool { return cert.VerifyHostname(host) == nil })
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s", ErrWrongHosts, strings.Join(missing, ", "))
	}
	return nil
}
