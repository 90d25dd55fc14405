package dockerd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"berth/test/harness"
)

// With the rules of an earlier version, the new ones are set in place, and iptables understands them.
func TestGatewayIsOpenedOnItsBridgeOnly(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	host := Machine()
	host.Root = dir
	apply := func(options Options) {
		t.Helper()
		setup := WithoutMaterial(host, options)
		plan, err := setup.PlanIsolation(t.Context(), "/none.sock")
		if err == nil {
			err = setup.ApplyIsolation(t.Context(), plan)
		}
		if err != nil {
			t.Fatal(err)
		}
		if plan, err = setup.PlanIsolation(t.Context(), "/none.sock"); err != nil || !plan.Empty() {
			t.Errorf("a second run would do something: %v\n%s", err, plan)
		}
	}
	const opening = "-m addrtype --dst-type LOCAL --limit-iface-in -j RETURN"
	apply(Options{})
	if rules := iptables(t, "-S", InputChain); strings.Contains(rules, opening) || !strings.Contains(rules, "-i berth+ -j DROP") {
		t.Errorf("without a gateway: %s\nwant nothing open", rules)
	}
	apply(Options{GatewayPort: 8099})
	rules := strings.Split(strings.TrimSpace(iptables(t, "-S", InputChain)), "\n")
	index := func(rule string) int {
		i := slices.Index(rules, "-A "+InputChain+" "+rule)
		if i < 0 {
			t.Errorf("no rule %q in\n%s", rule, strings.Join(rules, "\n"))
		}
		return i
	}
	closedInternal, closed := index("-i berthi+ -j DROP"), index("-i berth+ -j DROP")
	for _, service := range []string{"udp -m udp --dport 53 ", "tcp -m tcp --dport 53 ", "tcp -m tcp --dport 80 ", "tcp -m tcp --dport 443 ", "tcp -m tcp --dport 8099 "} {
		if index("-i berthi+ -p "+service+opening) > closedInternal {
			t.Errorf("%s is opened after everything was refused", service)
		}
	}
	if at := index("-i berth+ -p tcp -m tcp --dport 8099 " + opening); at < closedInternal || at > closed {
		t.Error("the open networks' port is not between the rules of the two kinds")
	}
	if n := strings.Count(strings.Join(rules, "\n"), opening); n != 6 {
		t.Errorf("%d rules open something, want 6:\n%s", n, strings.Join(rules, "\n"))
	}
	forward := strings.Split(strings.TrimSpace(iptables(t, "-S", ForwardChain)), "\n")
	if len(forward) < 3 || forward[1] != "-A BERTH-FORWARD -i berthi+ -j DROP" || forward[2] != "-A BERTH-FORWARD -o berthi+ -j DROP" {
		t.Errorf("rules %q, want those that forward nothing of internal networks first", forward)
	}
	apply(Options{})
	if rules := iptables(t, "-S", InputChain); strings.Contains(rules, opening) {
		t.Errorf("the gateway stays open: %s", rules)
	}
}

func TestNameServersOfTheHostAreForOpenSessions(t *testing.T) {
	t.Parallel()
	m := isolation{bridges: []string{SessionBridges}, internal: []string{internalBridges}, gateway: 8081, resolvers: map[netip.Addr]resolver{
		netip.MustParseAddr("192.0.2.53"): resolverHere,
	}}
	rules := m.rules("iptables", InputChain)
	shut, open := slices.Index(rules, "-i berthi+ -j DROP"), slices.Index(rules, "-d 192.0.2.53/32 -i berth+ -p udp -m udp --dport 53 -j RETURN")
	if shut < 0 || open < shut {
		t.Errorf("rules %q, want the name server opened only after internal networks are closed", rules)
	}
	for _, rule := range m.rules("ip6tables", InputChain) {
		if strings.Contains(rule, "RETURN") && !strings.Contains(rule, "ESTABLISHED") {
			t.Errorf("%q: sessions' networks have no IPv6", rule)
		}
	}
}
