package docker

import (
	"context"
	"net"
	"net/netip"

	"github.com/moby/moby/api/types/network"
)

// Gateway is where containers of one of the sessions' networks reach the engine's host: the address of the network's bridge.
type Gateway struct {
	Network  string // name
	Bridge   string // interface on the engine's host
	Address  netip.Addr
	Subnet   netip.Prefix // of the containers
	Internal bool         // of sessions that are not open
	Local    bool         // the bridge is an interface of this process's network namespace: it may listen there
}

// Gateways returns those of both networks, the internal one first. Networks that are missing are made.
func (r *Runtime) Gateways(ctx context.Context) ([]Gateway, error) {
	var all []Gateway
	err := r.operate(ctx, "make the networks of sessions", func(ctx context.Context) error {
		all = nil
		for _, n := range []*sessionNetwork{r.internal, r.open} {
			found, err := r.ensureNetwork(ctx, n)
			if err != nil {
				return err
			}
			g := Gateway{Network: n.name, Bridge: interfaceOf(found), Internal: n.internal}
			g.Subnet, g.Address = subnetOf(found)
			g.Local = hasAddress(g.Bridge, g.Address)
			all = append(all, g)
		}
		return nil
	})
	return all, err
}

// interfaceOf returns the interface of a network on the engine's host; empty if it is not known.
func interfaceOf(n network.Summary) string {
	if name := n.Options[bridgeName]; name != "" {
		return name
	}
	const idLength = 12
	if len(n.ID) < idLength {
		return ""
	}
	return "br-" + n.ID[:idLength]
}

// hasAddress reports whether this process's network namespace has an interface of that name with the address. The name alone
// would not tell it from the one of another engine.
func hasAddress(name string, want netip.Addr) bool {
	bridge, err := net.InterfaceByName(name)
	if err != nil {
		return false
	}
	addrs, err := bridge.Addrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if has, err := netip.ParsePrefix(a.String()); err == nil && has.Addr() == want {
			return true
		}
	}
	return false
}
