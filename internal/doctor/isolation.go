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
	userChain        = "DOCKER-USER" // of the engine, for rules of users
	defaultBridge    = "berth0"      // of a network that does not exist yet
)

// isolation checks that sessions cannot reach this machine, and that other machines cannot reach sessions.
func (o *Options) isolation(ctx context.Context) []Finding {
	if o.Engine == nil {
		return nil
	}
	rules, err := o.FirewallRules(ctx)
	if err != nil {
		return []Finding{skip("isolation-unknown", "whether this machine is closed to sessions is not known: run berth doctor as root, so that it can read the firewall's rules (%v)", err)}
	}
	bridge := o.sessionBridge(ctx)
	var findings []Finding
	if !closes(rules, bridge, "INPUT", "-i") {
		findings = append(findings, warn("open-to-sessions", adviceIsolation,
			"no firewall rule keeps sessions, on the bridge %s of the network %s, from the ports of this machine, or an earlier rule accepts them", bridge, o.Config.Docker.Network))
	}
	if !closes(rules, bridge, "FORWARD", "-o") {
		findings = append(findings, warn("sessions-open", adviceIsolation,
			"no firewall rule keeps other machines from containers on the bridge %s (policy %s), or an earlier rule accepts them", bridge, firstPolicy(rules, "FORWARD")))
	}
	return orPass(findings, pass("closed-to-sessions", "sessions on the bridge %s are kept from this machine, and other machines from them", bridge))
}

// sessionBridge returns the interface of the sessions' network, which may not exist yet.
func (o *Options) sessionBridge(ctx context.Context) string {
	const idLength = 12
	n, err := o.Engine.NetworkInspect(ctx, o.Config.Docker.Network, client.NetworkInspectOptions{})
	switch name := n.Network.Options[bridgeNameOption]; {
	case err != nil || len(n.Network.ID) < idLength:
		return defaultBridge
	case name != "":
		return name
	default:
		return "br-" + n.Network.ID[:idLength]
	}
}

// closes reports whether rules, as iptables-save prints them, refuse what comes from the bridge (-i) or goes to it (-o) before
// any accepts some of it: in the chain itself, in one of Berth's that is entered from it, or by the chain's policy.
func closes(rules, bridge, chain, direction string) bool {
	_, filter, _ := strings.Cut(rules, "*filter")
	filter, _, _ = strings.Cut(filter, "\nCOMMIT")
	switch (ruleWalk{filter: filter, bridge: bridge, direction: direction}).chain(chain, true, 0) {
	case refused:
		return true
	case accepted:
		return false
	default:
		return firstPolicy(rules, chain) == "DROP"
	}
}

// verdict is how a chain decides on a packet.
type verdict int

const (
	undecided verdict = iota
	refused
	accepted // at least some
)

// ruleWalk traces the packets of new connections from a bridge (-i), or from other machines to it (-o), through chains.
type ruleWalk struct {
	filter, bridge, direction string
}

var (
	ruleTarget    = regexp.MustCompile(` -[jg] (\S+)`)
	ruleInterface = regexp.MustCompile(`(! )?(-[io]) (\S+)`)
	ruleNarrow    = regexp.MustCompile(` -[sdp] | --dports? | --sports? |-m (?:set|limit|owner|mark) `)
)

const maxChains = 8 // that are entered from each other

// chain is the verdict of one chain; whole reports whether all packets pass through it.
func (w ruleWalk) chain(name string, whole bool, depth int) verdict {
	if depth > maxChains {
		return undecided
	}
	for line := range strings.Lines(w.filter) {
		rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+name+" ")
		if !ok || !w.concerns(" "+rule) {
			continue
		}
		m := ruleTarget.FindStringSubmatch(" " + rule)
		if m == nil {
			continue
		}
		narrow := ruleNarrow.MatchString(" "+rule) || w.direction == "-i" && strings.Contains(" "+rule, " -o ")
		switch target := m[1]; {
		case target == "ACCEPT":
			if strings.Contains(rule, "-p icmp") || strings.Contains(rule, "-p ipv6-icmp") {
				continue
			}
			return accepted
		case target == "RETURN":
			if !narrow {
				return undecided
			}
		case target == "DROP" || target == "REJECT":
			if !narrow && whole {
				return refused
			}
		case strings.HasPrefix(target, "DOCKER") && target != userChain:
			// The engine's own chains, which accept published ports.
		default:
			if v := w.chain(target, whole && !narrow, depth+1); v != undecided {
				return v
			}
		}
	}
	return undecided
}

// concerns reports whether a rule matches packets of new connections that come from the bridge, or go to it from elsewhere.
func (w ruleWalk) concerns(rule string) bool {
	if _, states, found := strings.Cut(rule, "--ctstate "); found {
		state, _, _ := strings.Cut(states, " ")
		if !strings.Contains(rule, "! --ctstate") && !strings.Contains(state, "NEW") {
			return false
		}
	}
	for _, m := range ruleInterface.FindAllStringSubmatch(rule, -1) {
		matches := matchesInterface(m[3], w.bridge)
		switch {
		case m[2] == w.direction:
			if matches != (m[1] == "") {
				return false
			}
		case w.direction == "-o" && m[1] == "": // from another machine, and not from a container of this one
			if matches || strings.HasPrefix(m[3], "docker") || strings.HasPrefix(m[3], "br-") || strings.HasPrefix(m[3], "berth") || m[3] == "lo" {
				return false
			}
		}
	}
	return true
}

// matchesInterface reports whether a pattern of iptables matches the name of an interface.
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
