package doctor

import (
	"context"
	"regexp"
	"strings"

	"github.com/moby/moby/client"
)

const (
	adviceIsolation = "close this machine to sessions as root: berth docker firewall, or berth docker setup-tls where the engine itself serves TLS"

	bridgeNameOption = "com.docker.network.bridge.name"
	defaultBridge    = "berth0" // of a network that does not exist yet
)

// isolation looks whether this machine is closed to sessions, and sessions to other machines.
func (c firewall) isolation(ctx context.Context) []Finding {
	if c.Engine == nil {
		return nil
	}
	rules, err := c.FirewallRules(ctx)
	if err != nil {
		return []Finding{skip("isolation-unknown", "whether this machine is closed to sessions is not known: run berth doctor as root, so that it can read the firewall's rules (%v)", err)}
	}
	bridge := c.sessionBridge(ctx)
	var findings []Finding
	if firstPolicy(rules, "INPUT") != "DROP" && !closes(rules, bridge, "INPUT", "-i") {
		findings = append(findings, warn("open-to-sessions", adviceIsolation,
			"no firewall rule keeps sessions, on the bridge %s, from the ports of this machine", bridge))
	}
	if policy := firstPolicy(rules, "FORWARD"); policy != "DROP" && !closes(rules, bridge, "FORWARD", "-o") {
		findings = append(findings, warn("sessions-open", adviceIsolation,
			"packets are forwarded unless a rule refuses them (policy %s), and none keeps other machines from containers on the bridge %s", policy, bridge))
	}
	return orPass(findings, pass("closed-to-sessions", "sessions on the bridge %s are kept from this machine, and other machines from them", bridge))
}

// sessionBridge is the interface of the sessions' network, as it is or as it will be.
func (c firewall) sessionBridge(ctx context.Context) string {
	const idLength = 12
	n, err := c.Engine.NetworkInspect(ctx, c.Config.Docker.Network, client.NetworkInspectOptions{})
	switch name := n.Network.Options[bridgeNameOption]; {
	case err != nil || len(n.Network.ID) < idLength:
		return defaultBridge
	case name != "":
		return name
	default:
		return "br-" + n.Network.ID[:idLength]
	}
}

// closes tells whether rules, as iptables-save prints them, refuse what comes from the bridge (-i) or goes to it (-o), in
// the chain itself or in one of Berth's that is entered from it.
func closes(rules, bridge, chain, direction string) bool {
	entered := regexp.MustCompile(`(?m)^-A (` + chain + `|DOCKER-USER) -j BERTH-` + chain + `$`).MatchString(rules)
	refusing := regexp.MustCompile(`-A (\S+) (?:.* )?` + direction + ` (\S+) (?:.* )?-j (?:DROP|REJECT)\b`)
	for line := range strings.Lines(rules) {
		m := refusing.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !matchesInterface(m[2], bridge) || strings.Contains(line, "dport") || strings.Contains(line, " -d ") {
			continue
		}
		if m[1] == "BERTH-"+chain && entered || m[1] == chain || chain == "FORWARD" && m[1] == "DOCKER-USER" {
			return true
		}
	}
	return false
}

// matchesInterface tells whether a pattern of iptables matches the name of an interface.
func matchesInterface(pattern, name string) bool {
	begin, isPrefix := strings.CutSuffix(pattern, "+")
	return pattern == name || isPrefix && strings.HasPrefix(name, begin)
}

// firstPolicy is the policy of a chain of the first table filter; "unknown" when none is printed.
func firstPolicy(rules, chain string) string {
	_, filter, _ := strings.Cut(rules, "*filter")
	m := regexp.MustCompile(`(?m)^:` + chain + ` (\w+)`).FindStringSubmatch(filter)
	if m == nil {
		return "unknown"
	}
	return m[1]
}
