package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"io"
	"math/bits"
	"net/netip"
	"os"
	"slices"
	"strings"

	"berth/internal/engineaddr"
	"berth/internal/session"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// The subnets of sessions' networks, unless they are set: of the networks with the default name first those of their own, and
// otherwise a part of subnetPool that depends on the network's name.
var (
	defaultSubnet     = netip.MustParsePrefix("10.213.0.0/20")
	defaultOpenSubnet = netip.MustParsePrefix("10.213.16.0/20")
	subnetPool        = netip.MustParsePrefix("10.208.0.0/12")
)

const subnetBits = 20 // 4093 containers

// subnetOf returns the subnet of an existing network, and the address of the engine's host on it. Both are invalid if it has
// no IPv4 one.
func subnetOf(n network.Summary) (netip.Prefix, netip.Addr) {
	for _, c := range n.IPAM.Config {
		if !c.Subnet.IsValid() || !c.Subnet.Addr().Is4() {
			continue
		}
		gateway := c.Gateway
		if !gateway.IsValid() {
			gateway = c.Subnet.Masked().Addr().Next() // what the engine takes
		}
		return c.Subnet.Masked(), gateway
	}
	return netip.Prefix{}, netip.Addr{}
}

// differs reports whether an existing network has another subnet than the one that was set.
func (n *sessionNetwork) differs(found network.Summary) bool {
	if !n.subnet.IsValid() {
		return false
	}
	has, _ := subnetOf(found)
	return has != n.subnet.Masked()
}

// removeUnused removes a network of this installation whose subnet is not the set one, unless a container runs on it: then the
// network is used as it is. Stopped containers are connected to its successor when they start.
func (r *Runtime) removeUnused(ctx context.Context, n *sessionNetwork, found network.Summary) bool {
	has, _ := subnetOf(found)
	if found.Labels[labelInstance] == r.instance {
		if _, err := r.api.NetworkRemove(ctx, found.ID, client.NetworkRemoveOptions{}); err == nil {
			r.log.InfoContext(ctx, "network of sessions is made anew with another subnet", "network", n.name, "subnet", n.subnet.String(), "previous", has.String())
			return true
		}
	}
	r.log.WarnContext(ctx, "network of sessions keeps its subnet, because it is in use or was made by others", "network", n.name,
		"setting", n.setting, "subnet", has.String(), "wanted", n.subnet.String())
	return false
}

// freeSubnet returns the subnet for a network that does not exist yet: the one that was set, which must be free, or one that
// is. An invalid one leaves the choice to the engine.
func (r *Runtime) freeSubnet(ctx context.Context, n *sessionNetwork) (netip.Prefix, error) {
	list, err := r.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return netip.Prefix{}, err
	}
	var taken []takenSubnet
	for _, other := range list.Items {
		for _, c := range other.IPAM.Config {
			if c.Subnet.IsValid() && other.Name != n.name {
				taken = append(taken, takenSubnet{prefix: c.Subnet, by: "the network " + other.Name + " of the engine"})
			}
		}
	}
	if r.engineHere {
		taken = append(taken, localRoutes(n.bridge)...)
	}
	if n.subnet.IsValid() {
		return n.subnet.Masked(), n.free(taken)
	}
	for _, subnet := range n.candidates() {
		if !slices.ContainsFunc(taken, func(t takenSubnet) bool { return t.prefix.Overlaps(subnet) }) {
			return subnet, nil
		}
	}
	return netip.Prefix{}, nil
}

// free returns an error if the set subnet is used. A route that it is only a part of does not count: the operator has chosen
// that part.
func (n *sessionNetwork) free(taken []takenSubnet) error {
	for _, t := range taken {
		if !t.prefix.Overlaps(n.subnet) || t.route && t.prefix.Bits() < n.subnet.Bits() {
			continue
		}
		return session.Errorf(session.CodeConflict, "the subnet %s of %s overlaps %s, which is that of %s: set %s to a free one",
			n.subnet, n.setting, t.prefix, t.by, n.setting)
	}
	return nil
}

// candidates are the subnets that a network may be given, in their order.
func (n *sessionNetwork) candidates() []netip.Prefix {
	var all []netip.Prefix
	if n.first.IsValid() {
		all = append(all, n.first)
	}
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, n.name)
	const count = 1 << (subnetBits - 12) // of the pool's 12 bits
	base := binary.BigEndian.Uint32(subnetPool.Addr().AsSlice())
	for i := range uint32(count) {
		var at [4]byte
		binary.BigEndian.PutUint32(at[:], base+(hash.Sum32()+i)%count<<(32-subnetBits))
		subnet := netip.PrefixFrom(netip.AddrFrom4(at), subnetBits)
		if subnet != defaultSubnet && subnet != defaultOpenSubnet {
			all = append(all, subnet)
		}
	}
	return all
}

// takenSubnet is a network that exists.
type takenSubnet struct {
	prefix netip.Prefix
	by     string // for messages
	route  bool   // of this machine
}

// localRoutes returns the networks that this machine has routes to, without the default route and those of one interface.
func localRoutes(except string) []takenSubnet {
	file, err := os.Open("/proc/net/route")
	if err != nil {
		return nil // a kernel without it has no bridges either
	}
	defer file.Close()
	return parseRoutes(file, except)
}

// parseRoutes reads the kernel's table of routes: a line of titles, then an interface, and destination and mask in hexadecimal
// with the machine's byte order.
func parseRoutes(table io.Reader, except string) (routes []takenSubnet) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		const device, destination, mask = 0, 1, 7
		fields := strings.Fields(lines.Text())
		if len(fields) <= mask || fields[device] == except {
			continue
		}
		at, err := hex.DecodeString(fields[destination])
		if err != nil || len(at) != 4 {
			continue
		}
		width, err := hex.DecodeString(fields[mask])
		if err != nil || len(width) != 4 {
			continue
		}
		slices.Reverse(at)
		if ones := bits.OnesCount32(binary.BigEndian.Uint32(width)); ones > 0 {
			prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte(at)), ones)
			routes = append(routes, takenSubnet{prefix: prefix, by: "a route of this machine on " + fields[device], route: true})
		}
	}
	return routes
}

// isHere reports whether the engine runs on this machine, as far as its address tells.
func isHere(at endpoint) bool {
	if at.network == engineaddr.Unix {
		return true
	}
	ip, err := netip.ParseAddrPort(at.address)
	return err == nil && ip.Addr().IsLoopback()
}
