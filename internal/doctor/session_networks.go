package doctor

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

const (
	internalSuffix  = "-internal" // of the internal network's name, behind DOCKER_NETWORK
	noNeighbours    = "com.docker.network.bridge.enable_icc"
	adviceRemake    = "stop the sessions on it, remove the network with docker network rm, and restart Berth, which makes it as it should be"
	adviceGateway   = "run as root: berth docker firewall (with GATEWAY_PORT, where it is set); it sets the rules of this version"
	adviceAccept    = "let the machine's firewall accept, from that bridge and to its own address, the gateway's port, and DNS, HTTP and HTTPS"
	adviceForeign   = "remove it from the network: docker network disconnect"
	adviceRecreated = "restart the session, which makes its container anew"
)

// sessionNetworks checks the internal network of sessions that are not open: nothing leaves it, only sessions are on it, and the
// gateway is all that is reached from it.
func sessionNetworks(ctx context.Context, o *Options) []Finding {
	if !o.Config.Gateway.Enabled {
		return []Finding{skip("no-gateway", "GATEWAY_ENABLED is false: sessions reach what the engine's host reaches")}
	}
	if o.Engine == nil {
		return o.noEngine()
	}
	name := o.Config.Docker.Network + internalSuffix
	found, err := o.Engine.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if errdefs.IsNotFound(err) {
		return []Finding{skip("no-network", "there is no network %s: Berth makes it when it starts", name)}
	}
	if err != nil {
		return []Finding{notAnswered(err)}
	}
	n := found.Network
	var findings []Finding
	if !n.Internal || n.EnableIPv6 || n.Driver != "bridge" || n.Options[noNeighbours] != "false" {
		findings = append(findings, fail("not-internal", adviceRemake,
			"the network %s is not an internal bridge without IPv6 and without connections between its containers: sessions that must not reach the outside do", name))
	}
	findings = append(findings, o.foreign(ctx, n)...)
	findings = append(findings, o.nameServers(ctx, n)...)
	if o.engineIsHere(ctx) {
		findings = append(findings, o.gatewayRules(ctx, n)...)
	}
	return orPass(findings, pass("networks-closed", "from the network %s, which has only sessions on it, nothing but the gateway is reached", name))
}

// foreign finds containers on the network that are no sessions: sessions reach what a neighbour listens on where the engine's
// isolation fails, and a neighbour with a second network is a way out.
func (o *Options) foreign(ctx context.Context, n network.Inspect) (findings []Finding) {
	for id, attached := range n.Containers {
		got, err := o.Engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil || got.Container.Config == nil {
			continue // it has ended, or may not be seen
		}
		if got.Container.Config.Labels[labelSession] == "" {
			findings = append(findings, warn("foreign-container", adviceForeign, "the container %s on the network %s is no session", attached.Name, n.Name))
		}
	}
	slices.SortFunc(findings, func(a, b Finding) int { return strings.Compare(a.Seen, b.Seen) })
	return findings
}

// nameServers checks that sessions on the network ask the gateway for names and nothing else.
func (o *Options) nameServers(ctx context.Context, n network.Inspect) []Finding {
	var want netip.Addr
	for _, c := range n.IPAM.Config {
		if want = c.Gateway; !want.IsValid() && c.Subnet.IsValid() {
			want = c.Subnet.Masked().Addr().Next()
		}
	}
	sessions, faults := o.sessions(ctx)
	if len(faults) > 0 {
		return faults
	}
	return o.inspect(ctx, sessions, func(session string, host *container.HostConfig) []Finding {
		if string(host.NetworkMode) != n.Name || slices.Equal(host.DNS, []netip.Addr{want}) {
			return nil
		}
		return []Finding{fail("other-name-server", adviceRecreated, "the session %s asks %v for names, and not the gateway at %s", session, host.DNS, want)}
	})
}

// gatewayRules checks that the firewall closes this machine to the network, and lets it reach the gateway.
func (o *Options) gatewayRules(ctx context.Context, n network.Inspect) []Finding {
	rules, err := o.FirewallRules(ctx)
	if err != nil {
		return []Finding{skip("gateway-rules-unknown", "whether sessions reach the gateway and nothing else is not known: run berth doctor as root (%v)", err)}
	}
	bridge := n.Options[bridgeNameOption]
	var findings []Finding
	if !closes(rules, bridge, "INPUT", "-i") {
		findings = append(findings, warn("host-open", adviceIsolation, "no firewall rule keeps sessions on the bridge %s from the ports of this machine", bridge))
	}
	if !closes(rules, bridge, "FORWARD", "-i") {
		findings = append(findings, warn("forwarding-open", adviceGateway, "no firewall rule of Berth's keeps sessions on the bridge %s from the outside, which the engine's own do", bridge))
	}
	var shut []string
	for _, port := range []int{53, 80, 443, o.Config.Gateway.Port} {
		if !passes(rules, bridge, strconv.Itoa(port), "RETURN|ACCEPT") && closes(rules, bridge, "INPUT", "-i") {
			shut = append(shut, strconv.Itoa(port))
		}
	}
	switch {
	case len(shut) > 0:
		findings = append(findings, warn("gateway-closed", adviceGateway, "the firewall's rules keep sessions on the bridge %s from the gateway's ports %s", bridge, strings.Join(shut, ", ")))
	case firstPolicy(rules, "INPUT") == "DROP" && !passes(rules, bridge, strconv.Itoa(o.Config.Gateway.Port), "ACCEPT"):
		findings = append(findings, warn("gateway-not-accepted", adviceAccept,
			"this machine's firewall refuses what it does not accept, and no rule accepts the gateway's port %d on the bridge %s", o.Config.Gateway.Port, bridge))
	}
	return findings
}

// passes reports whether a rule with one of the targets lets TCP packets from the bridge to a port pass.
func passes(rules, bridge, port, targets string) bool {
	wanted := regexp.MustCompile(` -j (` + targets + `)\b`)
	ports := regexp.MustCompile(`--dports? (\S*,)?` + port + `\b`)
	for line := range strings.Lines(rules) {
		if !strings.HasPrefix(line, "-A ") || !wanted.MatchString(line) || !ports.MatchString(line) || strings.Contains(line, "-p udp") {
			continue
		}
		if m := ruleInterface.FindStringSubmatch(line); m == nil || m[1] == "" && m[2] == "-i" && matchesInterface(m[3], bridge) {
			return true
		}
	}
	return false
}
