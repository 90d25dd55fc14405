package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxDomain leaves room for the label of a session in a host name of 253 characters.
const maxDomain = 253 - 63 - 1

// Public is the address of BERTH_PUBLIC_URL: scheme and host; nil for an empty setting.
func (s Server) Public() (*url.URL, error) {
	if s.PublicURL == "" {
		return nil, nil
	}
	u, err := url.Parse(s.PublicURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is not a URL", s.PublicURL)
	case u.Scheme != "http" && u.Scheme != "https", u.User != nil, u.RawQuery != "", u.Fragment != "", u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("%q is not of the form https://name or https://name:port", s.PublicURL)
	}
	u.Host, u.Path = strings.ToLower(u.Host), ""
	if !isDomain(u.Host) && !isHost(u.Hostname()) {
		return nil, fmt.Errorf("%q is not a host name", u.Host)
	}
	return u, nil
}

// isDomain reports whether text is a host name in lower case with an optional port.
func isDomain(text string) bool {
	name, port, hasPort := strings.Cut(text, ":")
	if hasPort && !hostPort("x:"+port, 1) || len(name) > maxDomain {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.HasSuffix(label, "-") ||
			strings.ContainsFunc(label, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }) {
			return false
		}
	}
	return true
}

// DomainName is SESSION_DOMAIN without its port.
func (s Session) DomainName() string {
	name, _, _ := strings.Cut(s.Domain, ":")
	return name
}

// PortRange is the first and the last port of SESSION_PORTS; zeros for an empty setting.
func (s Session) PortRange() (first, last uint16, err error) {
	if s.Ports == "" {
		return 0, 0, nil
	}
	from, to, found := strings.Cut(s.Ports, "-")
	if !found {
		return 0, 0, errors.New("the last port is missing")
	}
	low, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("%q is not a port", from)
	}
	high, err := strconv.ParseUint(to, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("%q is not a port", to)
	}
	if low < minSessionPort || high < low {
		return 0, 0, fmt.Errorf("the range must begin at %d or above, and not end before that", minSessionPort)
	}
	return uint16(low), uint16(high), nil
}

// minSessionPort is the first port that programs without privileges may listen on.
const minSessionPort = 1024

// CORSOrigins are the origins of CORS_ORIGINS.
func (s Session) CORSOrigins() (all []string) {
	for one := range strings.SplitSeq(s.CrossOrigins, ",") {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return all
}

// isOrigin reports whether text is a scheme, a host and maybe a port, in lower case, as browsers write origins.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && u.Host != "" && u.User == nil && text == u.Scheme+"://"+u.Host && text == strings.ToLower(text)
}

func (v *checker) origins(c Config) {
	for _, one := range c.Session.CORSOrigins() {
		v.that(isOrigin(one), "CORS_ORIGINS", one, "must be origins like https://app.example.com, without a path, separated by commas; not *")
	}
	first, last, err := c.Session.PortRange()
	v.that(err == nil, "SESSION_PORTS", c.Session.Ports, "must be two ports, like 20000-20999: %v", err)
	if host, port, splitErr := net.SplitHostPort(c.Server.Listen); c.Session.Ports != "" && err == nil && splitErr == nil {
		own, _ := strconv.Atoi(port)
		v.that(own < int(first) || own > int(last), "SESSION_PORTS", c.Session.Ports, "contradicts BERTH_LISTEN=%s, whose port is among them", c.Server.Listen)
		at, _ := netip.ParseAddr(host)
		v.that(c.Server.PublicURL != "" || host == "localhost" || at.IsLoopback(), "SESSION_PORTS", c.Session.Ports,
			"needs BERTH_PUBLIC_URL, from which the addresses of sessions have their host")
	}
	public, err := c.Server.Public()
	v.that(err == nil, "BERTH_PUBLIC_URL", c.Server.PublicURL, "must be the address that users open, like https://berth.example.com, without a path: %v", err)
	domain := c.Session.Domain
	if domain == "" || err != nil {
		return
	}
	name := c.Session.DomainName()
	v.that(isDomain(domain), "SESSION_DOMAIN", domain, "must be a host name in lower case of at most %d characters, like sessions.example.com, with an optional port", maxDomain)
	switch {
	case public == nil:
		v.that(false, "SESSION_DOMAIN", domain, "needs BERTH_PUBLIC_URL, from which the addresses of sessions have their scheme and port")
	case public.Hostname() == name, strings.HasSuffix(public.Hostname(), "."+name):
		v.that(false, "SESSION_DOMAIN", domain, "contradicts BERTH_PUBLIC_URL=%s: Berth's own name must not be that of the sessions or below it, since a session's page may set cookies there", c.Server.PublicURL)
	}
}
