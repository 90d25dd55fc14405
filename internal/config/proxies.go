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

// parseNetwork refuses a network so wide that a few of them are every address: any client could then choose its address with
// each request.
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
	case network.Bits() < 8, network.Addr().Is6() && network.Bits() < 16, network.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is not a network of proxies", text)
	}
	return network.Masked(), nil
}
