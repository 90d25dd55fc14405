package hostip

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Flags of the kernel's routing tables, from linux/route.h.
const (
	routeUp      = 0x1
	routeGateway = 0x2
)

// gateway is the gateway of a default route.
type gateway struct {
	addr   netip.Addr
	metric uint64 // the smallest is taken
}

// defaultGateways reads both tables. A kernel without IPv6 has no second one.
func defaultGateways(file, file6 string) ([]netip.Addr, error) {
	text, err := os.ReadFile(file)
	text6, err6 := os.ReadFile(file6)
	if errors.Is(err6, os.ErrNotExist) {
		err6 = nil
	}
	found := append(parseRoutes(string(text)), parseRoutes6(string(text6))...)
	addrs := make([]netip.Addr, 0, len(found))
	for _, g := range found {
		addrs = append(addrs, g.addr)
	}
	return addrs, errors.Join(err, err6)
}

// parseRoutes returns the gateways of the default routes in /proc/net/route, the preferred one first. Lines that are not
// understood are left out.
func parseRoutes(table string) []gateway {
	var found []gateway
	for line := range strings.Lines(table) {
		f := strings.Fields(line) // Iface Destination Gateway Flags RefCnt Use Metric Mask …
		if len(f) < 8 {
			continue
		}
		flags, err := strconv.ParseUint(f[3], 16, 32)
		metric, err2 := strconv.ParseUint(f[6], 10, 64)
		via, err3 := strconv.ParseUint(f[2], 16, 32)
		if err != nil || err2 != nil || err3 != nil || f[1] != "00000000" || f[7] != "00000000" || flags&(routeUp|routeGateway) != routeUp|routeGateway {
			continue
		}
		var raw [4]byte
		binary.NativeEndian.PutUint32(raw[:], uint32(via)) // the kernel prints a number of its own byte order
		if ip := netip.AddrFrom4(raw); !ip.IsUnspecified() {
			found = append(found, gateway{ip, metric})
		}
	}
	return preferred(found)
}

// parseRoutes6 does the same with /proc/net/ipv6_route. A link-local gateway keeps the name of its interface.
func parseRoutes6(table string) []gateway {
	var found []gateway
	for line := range strings.Lines(table) {
		f := strings.Fields(line) // destination length source length next-hop metric refcnt use flags device
		if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" {
			continue
		}
		flags, err := strconv.ParseUint(f[8], 16, 32)
		metric, err2 := strconv.ParseUint(f[5], 16, 64)
		raw, err3 := hex.DecodeString(f[4])
		if err != nil || err2 != nil || err3 != nil || flags&(routeUp|routeGateway) != routeUp|routeGateway {
			continue
		}
		ip, ok := netip.AddrFromSlice(raw)
		if !ok || ip.BitLen() != 128 || ip.IsUnspecified() {
			continue
		}
		if ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(f[9])
		}
		found = append(found, gateway{ip, metric})
	}
	return preferred(found)
}

func preferred(found []gateway) []gateway {
	slices.SortStableFunc(found, func(a, b gateway) int { return cmp.Compare(a.metric, b.metric) })
	return found
}
