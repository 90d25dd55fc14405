package doctor

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

func TestSessionNetworks(t *testing.T) {
	t.Parallel()
	gateway := netip.MustParseAddr("10.213.0.1")
	with := func(change func(*Options, *fakeEngine)) func(*testing.T, *Options, *fakeEngine) {
		return func(_ *testing.T, o *Options, e *fakeEngine) {
			e.network = network.Inspect{Network: network.Network{
				ID: "0123456789abcdef", Name: "berth-internal", Driver: "bridge", Internal: true,
				Options: map[string]string{"com.docker.network.bridge.enable_icc": "false", "com.docker.network.bridge.name": "berthi0"},
				IPAM:    network.IPAM{Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix("10.213.0.0/20"), Gateway: gateway}}},
			}}
			e.run("listed", &container.HostConfig{NetworkMode: "berth-internal"})
			e.inspected["listed"].HostConfig.DNS = []netip.Addr{gateway}
			if change != nil {
				change(o, e)
			}
		}
	}
	rules := func(replace ...string) func(*Options, *fakeEngine) {
		return func(o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				return strings.NewReplacer(replace...).Replace(closedRules), nil
			}
		}
	}
	checkCases{
		"good":       {with(nil), []string{"pass networks-closed"}},
		"no network": {nil, []string{"skipped no-network"}},
		"switched off": {
			with(func(o *Options, _ *fakeEngine) { o.Config.Gateway.Enabled = false }), []string{"skipped no-gateway"},
		},
		"no engine":    {noEngine, []string{"skipped engine-not-reached"}},
		"not internal": {with(func(_ *Options, e *fakeEngine) { e.network.Internal = false }), []string{"fail not-internal"}},
		"with IPv6":    {with(func(_ *Options, e *fakeEngine) { e.network.EnableIPv6 = true }), []string{"fail not-internal"}},
		"neighbours reached": {
			with(func(_ *Options, e *fakeEngine) { delete(e.network.Options, noNeighbours) }), []string{"fail not-internal"},
		},
		"a stranger on it": {with(func(_ *Options, e *fakeEngine) {
			e.network.Containers = map[string]network.EndpointResource{"other": {Name: "other"}, "ours": {Name: "ours"}}
			e.inspected["other"] = container.InspectResponse{ID: "other", Config: &container.Config{}}
			e.inspected["ours"] = container.InspectResponse{ID: "ours", Config: &container.Config{Labels: map[string]string{labelSession: "s"}}}
		}), []string{"warn foreign-container"}},
		"another name server": {
			with(func(_ *Options, e *fakeEngine) { e.inspected["listed"].HostConfig.DNS = nil }), []string{"fail other-name-server"},
		},
		"rules of an earlier version": {
			with(rules("-A BERTH-INPUT -i berthi+", "# ", "-A BERTH-FORWARD -i berthi+", "# ")), []string{"warn forwarding-open", "warn gateway-closed"},
		},
		"another port": {
			with(func(o *Options, _ *fakeEngine) { o.Config.Gateway.Port = 9000 }), []string{"warn gateway-closed"},
		},
		"no rules": {with(rules("-A ", "# ")), []string{"warn host-open", "warn forwarding-open"}},
		"refused by policy": {
			with(rules(":INPUT ACCEPT", ":INPUT DROP")), []string{"warn gateway-not-accepted"},
		},
		"accepted despite the policy": {
			with(rules(":INPUT ACCEPT", ":INPUT DROP", "COMMIT", "-A INPUT -i berthi+ -p tcp -m multiport --dports 80,443,8081 -j ACCEPT\nCOMMIT")),
			[]string{"pass networks-closed"},
		},
	}.run(t, "session-networks")
}
