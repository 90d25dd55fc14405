package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFirewall(t *testing.T) {
	t.Parallel()
	checkCases{
		"loopback": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("127.0.0.1:2376")
		}, []string{"pass plain-port-closed", "pass loopback-only", "pass closed-to-sessions"}},
		"open to all": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("[::]:2376")
		}, []string{"pass plain-port-closed", "fail open-to-all", "pass closed-to-sessions"}},
		"restricted": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("0.0.0.0:2376")
			o.FirewallRules = func(context.Context) (string, error) {
				return "-A INPUT -i br-+ -p tcp -m tcp --dport 2376 -j DROP\n", nil
			}
		}, []string{"pass plain-port-closed", "pass restricted", "warn open-to-sessions", "warn sessions-open"}},
		"open to containers": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://10.0.0.5:2376", listening1("10.0.0.5:2376")
		}, []string{"pass plain-port-closed", "warn open-to-containers", "pass closed-to-sessions"}},
		"rules unreadable": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("0.0.0.0:2376")
			o.FirewallRules = func(context.Context) (string, error) { return "", errors.New("not root") }
		}, []string{"pass plain-port-closed", "warn rules-unreadable", "skipped isolation-unknown"}},
		"closed with rules of the operator's own": {func(_ *testing.T, o *Options, e *fakeEngine) {
			e.network.ID = "0123456789abcdef"
			o.FirewallRules = func(context.Context) (string, error) {
				return "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -i br-+ -m conntrack --ctstate NEW -j DROP\n", nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "pass closed-to-sessions"}},
		"another bridge closed": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.network.ID = "0123456789abcdef" },
			[]string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions", "warn sessions-open"},
		},
		"shadowed": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				shadows := strings.Replace(closedRules, "-A INPUT -j BERTH", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j BERTH", 1)
				return strings.Replace(shadows, "-A FORWARD -j", "-A FORWARD -j ACCEPT\n-A FORWARD -j", 1), nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions", "warn sessions-open"}},
		"refusing policy and the bridge accepted": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				return "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -i berth0 -j ACCEPT\n", nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions"}},
		"what is accepted before concerns others": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				return strings.Replace(closedRules, "-A INPUT -j BERTH", "-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -j BERTH", 1), nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "pass closed-to-sessions"}},
		"chains that nothing enters": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				return strings.ReplaceAll(closedRules, "-j BERTH", "-j OTHER"), nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions", "warn sessions-open"}},
		"nothing listens": {nil, []string{"pass plain-port-closed", "skipped nothing-listens", "pass closed-to-sessions"}},
		"sockets unreadable": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Listeners = func() ([]netip.AddrPort, error) { return nil, os.ErrPermission }
		}, []string{"pass plain-port-closed", "skipped sockets-unreadable", "pass closed-to-sessions"}},
		"elsewhere": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://127.0.0.9.invalid:2376"
			o.LookupHost = func(context.Context, string) ([]string, error) { return []string{"10.9.9.9"}, nil }
		}, []string{"skipped host-unknown", "skipped engine-elsewhere"}},
		"socket": {func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "unix:///x" }, []string{"skipped local-socket"}},
	}.run(t, "firewall")
}

func listening1(address string) func() ([]netip.AddrPort, error) {
	return func() ([]netip.AddrPort, error) { return []netip.AddrPort{netip.MustParseAddrPort(address)}, nil }
}

func TestRestricts(t *testing.T) {
	t.Parallel()
	for rules, want := range map[string]bool{
		"":                      false,
		":INPUT DROP [0:0]\n":   true,
		":INPUT ACCEPT [0:0]\n": false,
		"-A INPUT -i docker+ -p tcp -m tcp --dport 2376 -j DROP\n":                                                                    true,
		"-A INPUT -p tcp -m multiport --dports 2375,2376 -j REJECT\n":                                                                 true,
		"-A INPUT -p tcp --dport 2376 -j ACCEPT\n":                                                                                    false,
		"-A INPUT -p tcp --dport 23760 -j DROP\n":                                                                                     false,
		"-A INPUT -p tcp --dport 12376 -j DROP\n":                                                                                     false,
		"-A FORWARD -p tcp --dport 2376 -j DROP\n":                                                                                    false,
		"-A INPUT -i br-+ -m conntrack --ctstate NEW -j DROP\n":                                                                       true,
		"-A INPUT -i br-+ -p tcp --dport 22 -j DROP\n":                                                                                false,
		"-A ufw-user-input -p tcp --dport 2376 -j DROP\n":                                                                             true,
		"chain input {\ntype filter hook input priority 0; policy drop;\n}\n":                                                         true,
		"chain input {\ntype filter hook input priority 0; policy accept;\n}\n":                                                       false,
		"chain i {\ntype filter hook input priority 0;\ntcp dport 2376 drop\n}\n":                                                     true,
		"chain i {\ntype filter hook input priority 0;\ntcp dport { 22, 2376 } reject\n}\n":                                           true,
		"chain i {\ntype filter hook input priority 0;\n}\nchain f {\ntype filter hook forward priority 0;\ntcp dport 2376 drop\n}\n": false,
	} {
		if got := restricts(rules, "2376"); got != want {
			t.Errorf("%q: got %t, want %t", rules, got, want)
		}
	}
}

func TestListeners(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tcp"), `  sl  local_address rem_address   st
   0: 0100007F:0948 00000000:0000 0A 00000000:00000000 00:00000000 00000000
   1: 00000000:0947 00000000:0000 0A 00000000:00000000 00:00000000 00000000
   2: 0100007F:0948 0100007F:D431 01 00000000:00000000 00:00000000 00000000
   3: zz:0948 00000000:0000 0A
`)
	write(t, filepath.Join(dir, "tcp6"), `  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0948 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 0000000000000000FFFF00000100007F:0948 00000000000000000000000000000000:0000 0A 00000000:00000000
`)
	got, err := listeners(filepath.Join(dir, "tcp"), filepath.Join(dir, "tcp6"), filepath.Join(dir, "none"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, l := range got {
		texts = append(texts, netip.AddrPortFrom(l.Addr().Unmap(), l.Port()).String())
	}
	if diff := cmp.Diff([]string{"127.0.0.1:2376", "0.0.0.0:2375", "[::1]:2376", "127.0.0.1:2376"}, texts); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if _, err := listeners(filepath.Join(dir, "none")); err == nil {
		t.Error("no file at all was no error")
	}
}
