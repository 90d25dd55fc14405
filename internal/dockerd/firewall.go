package dockerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rule is a firewall rule at the head of a chain.
type Rule struct {
	Program string   `json:"program"`         // iptables or ip6tables
	Chain   string   `json:"chain,omitempty"` // empty: INPUT
	Match   []string `json:"match"`           // everything behind the chain
}

const defaultChain = "INPUT"

// bridges are the names of the engine's bridges, as iptables matches them: the default one and Swarm's, then those of
// networks that users make, then those of sessions.
func bridges() []string { return []string{"docker+", "br-+", SessionBridges} }

// engineBridge matches exactly the names that the engine itself gives, and those that Berth gives.
var engineBridge = regexp.MustCompile(`^(docker0|docker_gwbridge|br-[0-9a-f]{12}|berth.*)$`)

// command is the rule as a line, with -C to look for it, -I to insert it, or -D to delete it.
func (r Rule) command(verb string) string {
	return strings.Join(append([]string{r.Program}, r.args(verb)...), " ")
}

// String is the line that inserts the rule.
func (r Rule) String() string { return r.command("-I") }

func (r Rule) args(verb string) []string {
	return append([]string{"-w", verb, cmp.Or(r.Chain, defaultChain)}, r.Match...)
}

// rulesFor block containers from the addresses that the engine listens on. Bridges with a name like the engine's that have one
// of the addresses (owner names them) are left out, with a note: rules there would lock clients out.
//
// The engine filters what it forwards, never what containers send to the host itself. 127.0.0.1 needs a rule too: with
// userland-proxy off the engine lets packets to loopback addresses in on its bridges.
func rulesFor(listen []netip.AddrPort, owner map[netip.Addr]string) (rules []Rule, notes []string) {
	add := func(programs []string, match ...string) {
		for _, p := range programs {
			rules = append(rules, Rule{Program: p, Match: match})
		}
	}
	for _, l := range listen {
		addr, port := l.Addr(), strconv.Itoa(int(l.Port()))
		programs := families[:1]
		if addr.Is6() {
			programs = families[1:]
		}
		var to []string
		switch {
		case addr.IsUnspecified():
			programs = families // the engine listens on both families then
		case addr.IsLoopback() && addr.Is6():
			continue // no kernel takes packets to ::1 from outside
		case addr.IsLoopback():
			add(programs, "!", "-i", "lo", "-d", addr.String(), "-p", "tcp", "--dport", port, "-j", "DROP")
			continue
		default:
			to = []string{"-d", addr.String()}
		}
		for _, b := range bridges() {
			if strings.HasPrefix(owner[addr], strings.TrimSuffix(b, "+")) {
				notes = append(notes, fmt.Sprintf("%s is on %s, which is named like one of the engine's own bridges: there is no firewall rule for %s, "+
					"so write one that keeps containers from port %s", addr, owner[addr], b, port))
				continue
			}
			match := append([]string{"-i", b}, to...)
			add(programs, append(match, "-p", "tcp", "--dport", port, "-j", "DROP")...)
		}
	}
	return rules, notes
}

// ruleMissing is iptables' exit code for a rule that is not there.
const ruleMissing = 1

func (s *Setup) hasRule(ctx context.Context, r Rule) (bool, error) {
	_, err := s.host.Run(ctx, r.Program, r.args("-C")...)
	if err == nil {
		return true, nil
	}
	if code, ran := exitCode(err); ran && code == ruleMissing {
		return false, nil
	}
	return false, fmt.Errorf("look for the firewall rule: %w", err)
}

func (s *Setup) insertRule(ctx context.Context, r Rule) error {
	if _, err := s.host.Run(ctx, r.Program, r.args("-I")...); err != nil {
		return fmt.Errorf("insert the firewall rule: %w", err)
	}
	return nil
}

// deleteRule deletes every copy of a rule: systemd may have inserted another one after the check.
func (s *Setup) deleteRule(ctx context.Context, r Rule) error {
	for {
		there, err := s.hasRule(ctx, r)
		if err != nil || !there {
			return err
		}
		if _, err := s.host.Run(ctx, r.Program, r.args("-D")...); err != nil {
			return fmt.Errorf("delete the firewall rule: %w", err)
		}
	}
}

// deleteRules deletes the last first. It goes on past a fault.
func (s *Setup) deleteRules(ctx context.Context, rules []Rule) error {
	var faults []error
	for _, r := range slices.Backward(rules) {
		faults = append(faults, s.deleteRule(ctx, r))
	}
	return errors.Join(faults...)
}
