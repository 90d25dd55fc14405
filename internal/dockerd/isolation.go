package dockerd

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// The bridges of the networks that Berth makes for sessions, as iptables matches them. Those of internal networks are
// among them.
const (
	SessionBridges  = "berth+"
	internalBridges = "berthi+"
)

// The chains that close this machine to sessions. They are in the table filter of iptables and ip6tables.
const (
	InputChain   = "BERTH-INPUT"
	ForwardChain = "BERTH-FORWARD"
)

// ownChains are both, in the order in which they are set.
var ownChains = []string{InputChain, ForwardChain}

// hook is where one of our chains is entered.
type hook struct {
	parent, chain string
	optional      bool // the parent may not be there
}

// rule is the rule that enters the chain.
func (h hook) rule(program string) Rule {
	return Rule{Program: program, Chain: h.parent, Match: []string{"-j", h.chain}}
}

// hooks are the chains from which ours are entered. The engine puts its own rules before those of FORWARD whenever it
// starts, and enters DOCKER-USER before them; it makes that chain when it first starts.
var hooks = []hook{
	{defaultChain, InputChain, false},
	{forwarding, ForwardChain, false},
	{userChain, ForwardChain, true},
}

const (
	forwarding = "FORWARD"
	userChain  = "DOCKER-USER" // of the engine, for rules of users
)

// families are the programs of the two address families.
var families = []string{"iptables", "ip6tables"}

const metadata = "169.254.0.0/16" // link-local: where clouds serve metadata and credentials

// isolation is what closes one machine to sessions.
type isolation struct {
	bridges   []string                // as iptables matches them
	internal  []string                // those of them that nothing is forwarded from and to
	gateway   int                     // port of the gateway on the bridges' own addresses; 0: there is none
	resolvers map[netip.Addr]resolver // name servers that open sessions need and the rules would cut off
}

// named are the services of the gateway for programs that do not know it: names, and the ports that names lead to.
var named = []struct {
	protocol string
	port     int
}{{"udp", 53}, {"tcp", 53}, {"tcp", 80}, {"tcp", 443}}

// resolver says on which way a name server is reached from a container.
type resolver bool

const (
	resolverHere    resolver = true  // it is an address of this machine
	resolverForward resolver = false // it is a link-local address behind this machine
)

// rules are the rules of a chain, without the program, as iptables prints them behind -A.
//
// The engine filters what it forwards between its own networks, and neither what a container sends to the host nor what
// others send to a container's address. All that Berth needs begins on the host, and its answers are established.
func (i isolation) rules(program, chain string) (rules []string) {
	add := func(format string, args ...any) { rules = append(rules, fmt.Sprintf(format, args...)) }
	if chain == ForwardChain {
		for _, bridge := range i.internal { // Berth's own connections are not forwarded
			add("-i %s -j DROP", bridge)
			add("-o %s -j DROP", bridge)
		}
	}
	add("-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN")
	if chain == InputChain {
		for _, bridge := range i.internal {
			if i.gateway > 0 && program == families[0] {
				for _, service := range named {
					add(atGateway, bridge, service.protocol, service.protocol, service.port)
				}
				add(atGateway, bridge, "tcp", "tcp", i.gateway)
			}
			add("-i %s -j DROP", bridge)
		}
	}
	i.resolve(add, program, chain)
	for _, bridge := range i.bridges {
		if i.gateway > 0 && chain == InputChain && program == families[0] {
			add(atGateway, bridge, "tcp", "tcp", i.gateway)
		}
	}
	for _, bridge := range i.bridges {
		switch {
		case chain == InputChain:
			add("-i %s -j DROP", bridge)
		case program == families[1]: // sessions' networks have no IPv6
			add("-i %s -j DROP", bridge)
			add("-o %s -j DROP", bridge)
		default:
			add("-d %s -i %s -j DROP", metadata, bridge)
			// DNAT is how the engine publishes ports: a session needs none of its neighbours', and others need only those.
			add("-i %s -m conntrack --ctstate DNAT -j DROP", bridge)
			add("-o %s -m conntrack ! --ctstate DNAT -j DROP", bridge)
		}
	}
	return rules
}

// atGateway is a rule for a port of the address that this machine has on the bridge, and not of its others: the address of a
// network that does not exist yet is not known.
const atGateway = "-i %s -p %s -m %s --dport %d -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN"

// resolve adds the rules that let open sessions reach name servers.
func (i isolation) resolve(add func(format string, args ...any), program, chain string) {
	for _, at := range slices.SortedFunc(maps.Keys(i.resolvers), netip.Addr.Compare) {
		if at.Is6() != (program == families[1]) || (i.resolvers[at] == resolverHere) != (chain == InputChain) {
			continue
		}
		for _, bridge := range i.bridges {
			for _, protocol := range []string{"udp", "tcp"} {
				add("-d %s/%d -i %s -p %s -m %s --dport 53 -j RETURN", at, at.BitLen(), bridge, protocol, protocol)
			}
		}
	}
}

// isolationOf finds out what this machine has to be closed with. endpoint is the engine's socket; empty when it does not
// answer, and then only networks that are made from now on are known.
func (s *Setup) isolationOf(ctx context.Context, endpoint string) (isolation, error) {
	i := isolation{
		bridges: []string{SessionBridges}, internal: []string{internalBridges}, gateway: s.opts.GatewayPort, resolvers: map[netip.Addr]resolver{},
	}
	for _, at := range nameServers(s.paths.resolvConf) {
		owner, err := s.host.Interface(at)
		if err != nil {
			return i, err
		}
		switch {
		case at.IsLoopback(): // the engine asks it itself
		case owner != "":
			i.resolvers[at] = resolverHere
		case at.IsLinkLocalUnicast():
			i.resolvers[at] = resolverForward
		}
	}
	if !strings.HasPrefix(endpoint, "unix://") {
		return i, nil
	}
	others, err := s.sessionBridges(ctx, endpoint)
	i.bridges = append(i.bridges, others...)
	return i, err
}

func nameServers(path string) (servers []netip.Addr) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil // a machine without one has none
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if at, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, at.WithZone("").Unmap())
		}
	}
	return servers
}

// text are the rules of both chains, as iptables prints them.
func (i isolation) text(program string) (rules []string) {
	for _, chain := range ownChains {
		for _, rule := range i.rules(program, chain) {
			rules = append(rules, "-A "+chain+" "+rule)
		}
	}
	return rules
}

// shell are the commands that set the chains whenever the engine starts: before it does, and when it has made its own
// chains.
func (i isolation) shell(program string) (before, after string) {
	var commands []string
	for _, chain := range ownChains {
		commands = append(commands, fmt.Sprintf("{ %s -w -N %s 2>/dev/null; %s -w -F %s; }", program, chain, program, chain))
	}
	for _, rule := range i.text(program) {
		commands = append(commands, program+" -w "+rule)
	}
	for _, h := range hooks {
		// What stands first is looked for, since whatever is accepted before it would not come to it.
		wanted := "-j " + h.chain
		if h.parent == forwarding {
			wanted = fmt.Sprintf("-j (%s|%s)", h.chain, userChain)
		}
		insert := fmt.Sprintf(`%s -w -S %s | grep -m 1 -e ^-A | grep -Eqx -e "-A %s %s" || %s`, program, h.parent, h.parent, wanted, h.rule(program).command("-I"))
		if h.optional {
			after = fmt.Sprintf("! %s -w -S %s >/dev/null 2>&1 || %s", program, h.parent, insert)
		} else {
			commands = append(commands, "{ "+insert+"; }")
		}
	}
	return strings.Join(commands, " && "), after
}
