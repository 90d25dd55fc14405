package hostip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"berth/internal/engineaddr"
)

// lookupTimeout bounds the look-up of the engine's host name.
const lookupTimeout = 2 * time.Second

// hostGateway is the name of the machine that a container runs on: its kernel is the container's.
const hostGateway = "host.docker.internal"

// IsThisMachine reports whether the engine at an endpoint runs on this machine, so that the measured load is the engine's. An
// engine with a host name that cannot be resolved counts as remote.
func IsThisMachine(ctx context.Context, endpoint string) bool {
	engine, err := engineaddr.ParseTCP(endpoint)
	if err != nil || engine.Host == hostGateway {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	theirs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", engine.Host)
	if err != nil {
		return false
	}
	ours, err := LocalAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(theirs, func(ip netip.Addr) bool {
		return ip.Unmap().IsLoopback() || slices.Contains(ours, ip.Unmap())
	})
}

// LocalAddrs are the addresses of this machine.
func LocalAddrs() ([]netip.Addr, error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, i := range interfaces {
		if prefix, err := netip.ParsePrefix(i.String()); err == nil {
			addrs = append(addrs, prefix.Addr().Unmap())
		}
	}
	return addrs, nil
}

// IsLocal reports whether the engine at an endpoint is reached by a socket or a loopback address.
func IsLocal(endpoint string) bool {
	engine, err := engineaddr.ParseTCP(endpoint)
	if err != nil {
		return true
	}
	ip, err := netip.ParseAddr(engine.Host)
	return engine.Host == "localhost" || err == nil && ip.IsLoopback()
}
