package config

import "net/netip"

// Bits of the widest and the narrowest subnet of a sessions' network.
const (
	widestSubnet    = 16
	narrowestSubnet = 28
)

// Subnets returns those of the internal and of the open network; invalid ones are chosen. The settings are valid.
func (s Session) Subnets() (internal, open netip.Prefix) {
	internal, _ = subnet(s.Subnet)
	open, _ = subnet(s.OpenSubnet)
	return internal, open
}

// subnet parses a subnet of a sessions' network; it is invalid for [Auto].
func subnet(text string) (parsed netip.Prefix, ok bool) {
	if text == Auto {
		return netip.Prefix{}, true
	}
	parsed, err := netip.ParsePrefix(text)
	ok = err == nil && parsed.Addr().Is4() && parsed == parsed.Masked() && parsed.Addr().IsPrivate() &&
		parsed.Bits() >= widestSubnet && parsed.Bits() <= narrowestSubnet
	return parsed, ok
}

func (v *checker) gateway(c Config) {
	const private = "must be auto, or a private IPv4 network of /%d to /%d, like 10.213.0.0/20"
	internal, ok := subnet(c.Session.Subnet)
	v.that(ok, "SESSION_SUBNET", c.Session.Subnet, private, widestSubnet, narrowestSubnet)
	open, openOK := subnet(c.Session.OpenSubnet)
	v.that(openOK, "SESSION_OPEN_SUBNET", c.Session.OpenSubnet, private, widestSubnet, narrowestSubnet)
	v.that(!ok || !openOK || !internal.Overlaps(open), "SESSION_OPEN_SUBNET", c.Session.OpenSubnet,
		"contradicts SESSION_SUBNET=%s: the two networks must not overlap", c.Session.Subnet)
	between(v, "GATEWAY_PORT", c.Gateway.Port, 1, 65535)
	for _, reserved := range []int{53, 80, 443} {
		v.that(c.Gateway.Port != reserved, "GATEWAY_PORT", c.Gateway.Port, "must not be 53, 80 or 443, which the gateway uses for DNS, HTTP and TLS")
	}
}
