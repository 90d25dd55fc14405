package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// Proxies are the networks of TRUSTED_PROXIES, an address being a network of its own; none for an empty setting.
func (s Server) Proxies() ([]netip.Prefix, error) {
	var all []netip.Prefix
	if strings.TrimSpace(s.TrustedProxies) == "" {
		return nil, nil
	}
	for text := range strings.SplitSeq(s.TrustedProxies, ",") {
		network, err := parseNetwork(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		all = append(all, network)
	}
	return all, nil
}

// Bits of the widest networks.
const (
	widest4 = 8
	widest6 = 16
)

// parseNetwork parses a network or an address. A network that is too wide is an error: clients in it could choose their
// address with each request.
func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		if address.Zone() != "" || address.IsUnspecified() {
			return netip.Prefix{}, fmt.Errorf("%q is not the address of a proxy", text)
		}
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network", text)
	case network.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 network in the form of an IPv6 one", text)
	case network.Bits() < widest4, network.Addr().Is6() && network.Bits() < widest6:
		return netip.Prefix{}, fmt.Errorf("%q is too wide", text)
	}
	return network.Masked(), nil
}
