package docker

import (
	"net/netip"
	"strings"
	"testing"

	"berth/internal/session"
)

const routeTable = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
tun0	0000000A	00000000	0001	0	0	0	000000FF	0	0	0
berthi0	0000D50A	00000000	0001	0	0	0	00F0FFFF	0	0	0
broken	zz	00000000	0001	0	0	0	00F0FFFF	0	0	0
short	0000D50A
`

func TestParseRoutes(t *testing.T) {
	t.Parallel()
	var got []string
	for _, r := range parseRoutes(strings.NewReader(routeTable), "berthi0") {
		got = append(got, r.prefix.String())
	}
	if got := strings.Join(got, " "); got != "192.0.2.0/24 10.0.0.0/8" {
		t.Errorf("routes = %q, want those of other interfaces without the default route", got)
	}
	if all := parseRoutes(strings.NewReader(routeTable), ""); len(all) != 3 || all[2].prefix.String() != "10.213.0.0/20" {
		t.Errorf("routes = %v, want the /20 of berthi0 last", all)
	}
}

func TestSetSubnetMustBeFree(t *testing.T) {
	t.Parallel()
	n := newInternalNetwork("berth", netip.MustParsePrefix("10.77.0.0/24"))
	for name, c := range map[string]struct {
		taken takenSubnet
		free  bool
	}{
		"network beside it":    {takenSubnet{prefix: netip.MustParsePrefix("10.77.1.0/24"), by: "other"}, true},
		"same network":         {takenSubnet{prefix: netip.MustParsePrefix("10.77.0.0/24"), by: "other"}, false},
		"wider network":        {takenSubnet{prefix: netip.MustParsePrefix("10.77.0.0/16"), by: "other"}, false},
		"part of it is routed": {takenSubnet{prefix: netip.MustParsePrefix("10.77.0.128/25"), by: "tun0", route: true}, false},
		"routed elsewhere":     {takenSubnet{prefix: netip.MustParsePrefix("10.77.0.0/24"), by: "tun0", route: true}, false},
		"part of a route":      {takenSubnet{prefix: netip.MustParsePrefix("10.0.0.0/8"), by: "tun0", route: true}, true},
	} {
		err := n.free([]takenSubnet{c.taken})
		if (err == nil) != c.free {
			t.Errorf("%s: error = %v, want free %v", name, err, c.free)
		}
		if err != nil && (session.CodeOf(err) != session.CodeConflict || !strings.Contains(session.MessageOf(err), "SESSION_SUBNET")) {
			t.Errorf("%s: error = %v, want a conflict that names the setting", name, err)
		}
	}
}

func TestSubnetCandidates(t *testing.T) {
	t.Parallel()
	if got := newInternalNetwork("berth", netip.Prefix{}).candidates()[0]; got != defaultSubnet {
		t.Errorf("the default network's first subnet is %s, want %s", got, defaultSubnet)
	}
	if got := newOpenNetwork("berth", netip.Prefix{}).candidates()[0]; got != defaultOpenSubnet {
		t.Errorf("the open network's first subnet is %s, want %s", got, defaultOpenSubnet)
	}
	seen := map[netip.Prefix]bool{}
	for _, p := range newInternalNetwork("other", netip.Prefix{}).candidates() {
		if p != p.Masked() || p.Bits() != subnetBits || !subnetPool.Contains(p.Addr()) || seen[p] || p.Overlaps(defaultSubnet) || p.Overlaps(defaultOpenSubnet) {
			t.Fatalf("candidate %s, want each /%d of %s once, but for the default network's", p, subnetBits, subnetPool)
		}
		seen[p] = true
	}
	if len(seen) != 254 {
		t.Errorf("%d candidates, want 254", len(seen))
	}
}

func TestBridgeNamesFitAndTellTheKind(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"berth", "a-rather-long-name-of-a-network"} {
		open, internal := newOpenNetwork(name, netip.Prefix{}), newInternalNetwork(name, netip.Prefix{})
		if len(open.bridge) > 15 || len(internal.bridge) > 15 {
			t.Errorf("bridges %s and %s: the kernel allows 15 characters", open.bridge, internal.bridge)
		}
		if !strings.HasPrefix(open.bridge, "berth") || strings.HasPrefix(open.bridge, "berthi") || !strings.HasPrefix(internal.bridge, "berthi") {
			t.Errorf("bridges %s and %s: the firewall matches berth+ and berthi+", open.bridge, internal.bridge)
		}
	}
}
