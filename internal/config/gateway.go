package config

import (
	"net"
	"net/netip"
	"strconv"
)

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
	for _, l := range []struct{ variable, address string }{{"BERTH_LISTEN", c.Server.Listen}, {"BERTH_REDIRECT_LISTEN", c.Server.RedirectListen}} {
		v.that(!c.Gateway.Enabled || !takes(l.address, c.Gateway.Port), "GATEWAY_PORT", c.Gateway.Port,
			"contradicts %s=%s, which has this port of every address: sessions would reach it in place of the gateway", l.variable, l.address)
	}
	for _, reserved := range []int{53, 80, 443} {
		v.that(c.Gateway.Port != reserved, "GATEWAY_PORT", c.Gateway.Port, "must not be 53, 80 or 443, which the gateway uses for DNS, HTTP and TLS")
	}
}

// takes reports whether an address to listen on has a port of every address.
func takes(address string, port int) bool {
	host, number, err := net.SplitHostPort(address)
	ip, _ := netip.ParseAddr(host)
	return err == nil && number == strconv.Itoa(port) && (host == "" || ip.IsUnspecified())
}
