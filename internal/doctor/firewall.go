package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	plainPort = "2375" // the customary port of an engine without TLS

	adviceFirewall = "let only the machines that need it reach the port, and no container but Berth's own: listen on 127.0.0.1; " +
		"where the engine itself serves TLS, berth docker setup-tls sets the rules up, and before a guard write them yourself"
)

// firewall checks which clients can reach the engine's port, and what sessions can reach: on this machine by the listening
// addresses and the firewall's rules, on another one only whether the port without TLS is open.
func firewall(ctx context.Context, o *Options) []Finding {
	host, port := o.engineHost()
	if host == "" {
		return []Finding{skip("local-socket", "the engine is reached through a local socket, and not over the network")}
	}
	findings := o.plainPort(ctx, host)
	if !o.engineIsHere(ctx) {
		return append(findings, skip("engine-elsewhere", "the firewall of %s is not seen from here: run berth doctor there, too", host))
	}
	return append(append(findings, o.tlsPort(ctx, port)...), o.isolation(ctx)...)
}

// plainPort checks for an engine without TLS.
func (o *Options) plainPort(ctx context.Context, host string) []Finding {
	header, err := plainGet(ctx, net.JoinHostPort(host, plainPort), "/_ping")
	if err == nil && header.Get("Api-Version") != "" {
		return []Finding{fail("plain-port-open", "take tcp://…:2375 out of the engine's hosts; any client that reaches it has root access there",
			"the engine at %s answers without TLS on port %s", host, plainPort)}
	}
	if _, unknown := errors.AsType[*net.DNSError](err); unknown {
		return []Finding{skip("host-unknown", "no address is known for the engine's host %s", host)}
	}
	return []Finding{pass("plain-port-closed", "no engine answers without TLS on port %s of %s", plainPort, host)}
}

// tlsPort checks the listening sockets and the firewall's rules.
func (o *Options) tlsPort(ctx context.Context, port string) []Finding {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return []Finding{skip("setting-faulty", "the engine's port %q is none", port)}
	}
	all, err := o.Listeners()
	if err != nil {
		return []Finding{skip("sockets-unreadable", "which ports are listened on here could not be read: %v", err)}
	}
	var open []netip.Addr
	used := false
	for _, l := range all {
		if l.Port() != uint16(number) {
			continue
		}
		used = true
		if !l.Addr().Unmap().IsLoopback() {
			open = append(open, l.Addr().Unmap())
		}
	}
	switch {
	case !used:
		return []Finding{skip("nothing-listens", "nothing listens on port %s of this machine now", port)}
	case len(open) == 0:
		return []Finding{pass("loopback-only", "port %s is listened on by loopback addresses only", port)}
	}
	rules, err := o.FirewallRules(ctx)
	if err != nil {
		return []Finding{warn("rules-unreadable", "run berth doctor as root, so that it can read the firewall's rules", "port %s is listened on by %s, and "+
			"the firewall's rules could not be read: %v", port, join(open), err)}
	}
	if restricts(rules, port) {
		return []Finding{pass("restricted", "port %s is listened on by %s, and firewall rules restrict it", port, join(open))}
	}
	if slices.ContainsFunc(open, netip.Addr.IsUnspecified) {
		return []Finding{fail("open-to-all", adviceFirewall, "port %s is listened on by every address of this machine, and no firewall rule restricts it", port)}
	}
	return []Finding{warn("open-to-containers", adviceFirewall, "port %s is listened on by %s, and no firewall rule keeps containers from it", port, join(open))}
}

func join(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), ", ")
}

// inputRule is a rule of iptables-save about packets to this machine.
var inputRule = regexp.MustCompile(`^-A (INPUT|ufw[\w-]*input|IN_\w+|[\w-]*INPUT[\w-]*) `)

// restricts reports whether rules, as iptables-save and nft print them, refuse the port to some clients: by a rule for the port, by
// one that refuses all new connections from bridges, or by refusing whatever is not allowed. It does not prove that all
// unauthorized clients are refused.
func restricts(rules, port string) bool {
	ports := regexp.MustCompile(`dports? (\{[^}]*\b|\S*\b)?` + regexp.QuoteMeta(port) + `\b`)
	refusing := regexp.MustCompile(`\b(DROP|REJECT|drop|reject)\b`)
	input := false // within an input chain of nft
	for line := range strings.Lines(rules) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "chain "):
			input = false
		case strings.Contains(line, "hook input"):
			input = true
			if strings.Contains(line, "policy drop") {
				return true
			}
		case strings.HasPrefix(line, ":INPUT DROP"):
			return true
		case strings.HasPrefix(line, "-A "):
			if !inputRule.MatchString(line) || !refusing.MatchString(line) {
				continue
			}
			if ports.MatchString(line) || !strings.Contains(line, "dport") && strings.Contains(line, "-i br-+") {
				return true
			}
		case input && refusing.MatchString(line) && ports.MatchString(line):
			return true
		}
	}
	return false
}
