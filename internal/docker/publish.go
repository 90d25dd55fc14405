package docker

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"berth/internal/session"
)

type lookup func(ctx context.Context, host string) ([]netip.Addr, error)

func lookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

var (
	loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	shared   = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598: carriers' and overlay networks' private space
)

// publishIP chooses the address of the engine's host that sessions are published on. "auto" means 127.0.0.1 when the
// engine is on this machine, and otherwise the private address under which it is reached. It never chooses all
// addresses or, by itself, a public one: a session's port must not be reachable from the Internet.
func publishIP(ctx context.Context, setting string, at endpoint, resolve lookup) (netip.Addr, error) {
	setting = strings.TrimSpace(setting)
	if setting != "" && setting != publishAuto {
		ip, err := netip.ParseAddr(setting)
		if err != nil {
			return netip.Addr{}, session.Errorf(session.CodeInvalid,
				"SESSION_PUBLISH_IP %q is not an IP address; write one, or auto", setting).Because(err)
		}
		if ip.Unmap().IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
			return netip.Addr{}, session.Errorf(session.CodeInvalid,
				"SESSION_PUBLISH_IP %s would open sessions to every network; name one address of the engine's host", setting)
		}
		return ip.Unmap(), nil
	}
	if at.network == "unix" {
		return loopback, nil
	}
	host, _, err := net.SplitHostPort(at.address)
	if err != nil {
		return netip.Addr{}, session.Errorf(session.CodeInvalid, "DOCKER_HOST %q has no host", at.host).Because(err)
	}
	addresses := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		addresses = append(addresses, ip)
	} else if addresses, err = resolve(ctx, host); err != nil {
		return netip.Addr{}, unreachable(at, err)
	}
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	slices.SortStableFunc(addresses, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() }) // IPv4 first: engines publish IPv6 only when configured to
	for _, ip := range addresses {
		if ip.IsLoopback() || ip.IsPrivate() || shared.Contains(ip) {
			return ip, nil
		}
	}
	return netip.Addr{}, session.Errorf(session.CodeInvalid,
		"the engine at %s has no private address, and sessions must not be published on a public one: "+
			"set SESSION_PUBLISH_IP to an address of its host that only Berth's network can reach", at.host)
}
