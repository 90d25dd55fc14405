package dockerd

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"berth/test/harness"
)

// iptables runs the real program in the test's own namespace.
func iptables(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "iptables", append([]string{"-w"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("iptables %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestFirewallRulesAreMovedToFront: what is accepted before our chains are entered never comes to them.
func TestFirewallRulesAreMovedToFront(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	host := Machine()
	host.Root = dir
	setup := WithoutMaterial(host, Options{})
	apply := func() {
		t.Helper()
		plan, err := setup.PlanIsolation(t.Context(), "/none.sock")
		if err != nil {
			t.Fatal(err)
		}
		if plan.Empty() {
			t.Error("the plan is empty, want one that puts the rules first")
		}
		if err := setup.ApplyIsolation(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		if plan, err = setup.PlanIsolation(t.Context(), "/none.sock"); err != nil || !plan.Empty() {
			t.Errorf("a second run would do something: %v\n%s", err, plan)
		}
	}
	first := func(chain, want string) {
		t.Helper()
		if rules := strings.Split(iptables(t, "-S", chain), "\n"); len(rules) < 2 || rules[1] != "-A "+chain+" "+want {
			t.Errorf("rules %q, want %q first", rules, want)
		}
	}
	apply()
	iptables(t, "-I", "INPUT", "1", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")
	iptables(t, "-I", "FORWARD", "1", "-j", "ACCEPT")
	apply()
	first("INPUT", "-j BERTH-INPUT")
	first("FORWARD", "-j BERTH-FORWARD")

	// An engine puts its own in front when it starts, and enters DOCKER-USER first.
	iptables(t, "-N", "DOCKER-USER")
	iptables(t, "-A", "DOCKER-USER", "-j", "RETURN")
	iptables(t, "-I", "FORWARD", "1", "-j", "DOCKER-USER")
	apply()
	first("DOCKER-USER", "-j BERTH-FORWARD")

	// The commands of the unit come to the same.
	iptables(t, "-I", "INPUT", "1", "-j", "ACCEPT")
	iptables(t, "-I", "DOCKER-USER", "1", "-j", "ACCEPT")
	before, after := isolation{bridges: []string{SessionBridges}}.shell("iptables")
	for range 2 {
		for _, command := range []string{before, after} {
			if out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
		}
		first("INPUT", "-j BERTH-INPUT")
		first("DOCKER-USER", "-j BERTH-FORWARD")
	}
	if n := strings.Count(iptables(t, "-S", "INPUT"), "-j BERTH-INPUT"); n > 3 {
		t.Errorf("%d rules enter our chain, want none inserted where one is first", n)
	}
	if err := setup.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rules := iptables(t, "-S"); strings.Contains(rules, "BERTH") {
		t.Errorf("rules stay after the undo:\n%s", rules)
	}
}

// TestConfiguredForeignNetworkIsClosed: a network without our label is the sessions' all the same.
func TestConfiguredForeignNetworkIsClosed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.named = `[{"ID":"0123456789abcdef","Name":"mine","Driver":"bridge"},{"ID":"fedcba9876543210","Name":"mine-too","Driver":"bridge"}]`
	s := WithoutMaterial(m.host(), Options{Network: "mine"})
	got, err := s.sessionBridges(t.Context(), "unix://"+m.root+"/var/run/docker.sock")
	if err != nil || !slices.Equal(got, []string{"br-0123456789ab"}) {
		t.Errorf("bridges %v, %v; want that of the network", got, err)
	}
}
