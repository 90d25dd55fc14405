package hostip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

// network simulates servers at some addresses.
type network struct {
	mu      sync.Mutex
	answers map[string]bool
	names   map[string]string
	tried   []string
	now     time.Time
}

const (
	ethernet = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" // via 192.168.1.1 on a little-endian machine
	header   = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
)

func (n *network) detector(t *testing.T, change func(*Options)) *Detector {
	t.Helper()
	n.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "route")
	if err := os.WriteFile(file, []byte(header+ethernet), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Routes: file, Routes6: "/nowhere",
		Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
			if ip, ok := n.names[name]; ok {
				return []netip.Addr{netip.MustParseAddr(ip)}, nil
			}
			return nil, errors.New("no such host")
		},
		Own: func(context.Context) (netip.Prefix, error) { return netip.MustParsePrefix("172.30.0.7/16"), nil },
		Try: func(_ context.Context, at netip.AddrPort) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.tried = append(n.tried, at.String())
			if n.answers[at.Addr().String()] {
				return nil
			}
			return errors.New("connection refused")
		},
		Now: func() time.Time { n.mu.Lock(); defer n.mu.Unlock(); return n.now },
	}
	if change != nil {
		change(&o)
	}
	return New(o)
}

func (n *network) pass(d time.Duration) { n.mu.Lock(); defer n.mu.Unlock(); n.now = n.now.Add(d) }

func (n *network) tries() int { n.mu.Lock(); defer n.mu.Unlock(); return len(n.tried) }

// A source wins when it is the first in the documented order that answers.
func TestSourcesAreTriedInDocumentedOrder(t *testing.T) {
	t.Parallel()
	env := func(o *Options) { o.DockerHostGateway, o.Gateway = "10.1.0.1", "gateway.internal" }
	names := map[string]string{"host.docker.internal": "192.168.65.254", "gateway.internal": "10.2.0.1"}
	order := []struct {
		addr   string
		source Source
	}{
		{"192.168.65.254", DockerName},
		{"10.1.0.1", Gateways},
		{"10.2.0.1", Gateways},
		{"192.168.1.1", Route},
		{"172.30.0.7", Connection},
		{"172.30.0.1", Connection},
		{"172.17.0.1", Common},
		{"172.18.0.1", Common},
	}
	for i, want := range order {
		t.Run(want.addr, func(t *testing.T) {
			t.Parallel()
			n := &network{names: names, answers: map[string]bool{}}
			for _, later := range order[i:] {
				n.answers[later.addr] = true
			}
			got, err := n.detector(t, env).Detect(t.Context(), 4096)
			if err != nil || got.Addr.String() != want.addr || got.Source != want.source {
				t.Errorf("got %s from %s, %v; want %s from %s", got.Addr, got.Source, err, want.addr, want.source)
			}
		})
	}
}

func TestAddressIsUsedOnlyAfterItAnswered(t *testing.T) {
	t.Parallel()
	n := &network{names: map[string]string{"host.docker.internal": "192.168.65.254"}}
	d := n.detector(t, nil)
	got, err := d.Detect(t.Context(), 4096)
	if got.Addr.IsValid() || !errors.Is(err, ErrNotDetected) || session.CodeOf(err) != session.CodeEngineUnavailable {
		t.Errorf("got %s, %v; want nothing", got.Addr, err)
	}
	for _, remedy := range []string{"Could not detect Docker host IP", "HOST_IP", "docker network inspect bridge", "ping host.docker.internal"} {
		if !strings.Contains(err.Error(), remedy) {
			t.Errorf("the error does not name %q: %v", remedy, err)
		}
	}
	for _, c := range got.Candidates {
		if c.Err == nil {
			t.Errorf("%s (%s) has no reason", c.Addr, c.Source)
		}
	}
}

func TestHostIPForces(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		n := &network{names: map[string]string{"host.docker.internal": "192.168.65.254"}, answers: map[string]bool{"192.168.65.254": true, "203.0.113.9": answers}}
		got, err := n.detector(t, func(o *Options) { o.HostIP, o.Gateway = "203.0.113.9", "192.168.65.254" }).Detect(t.Context(), 4096)
		if err != nil || got.Addr.String() != "203.0.113.9" || got.Source != Forced || (got.Candidates[0].Err == nil) != answers {
			t.Errorf("got %+v, %v; want HOST_IP, and whether it answers", got, err)
		}
		if len(n.tried) != 1 {
			t.Errorf("tried %v, want nothing else", n.tried)
		}
	}
}

func TestPublicAddressIsUsedOnlyIfConfigured(t *testing.T) {
	t.Parallel()
	n := &network{names: map[string]string{"host.docker.internal": "203.0.113.9"}, answers: map[string]bool{"203.0.113.9": true}}
	if got, err := n.detector(t, nil).Detect(t.Context(), 4096); err == nil {
		t.Errorf("got %s, want it left out: a foreign server may answer there", got.Addr)
	}
	if got, err := n.detector(t, func(o *Options) { o.Gateway = "203.0.113.9" }).Detect(t.Context(), 4096); err != nil || got.Addr.String() != "203.0.113.9" {
		t.Errorf("named by the operator: got %s, %v; want it accepted", got.Addr, err)
	}
}

func TestDetectedAddressIsCachedFiveMinutes(t *testing.T) {
	t.Parallel()
	n := &network{answers: map[string]bool{"192.168.1.1": true}}
	d := n.detector(t, nil)
	for step, change := range []struct {
		do     func()
		search bool
	}{
		{func() {}, true},
		{func() { n.pass(5*time.Minute - time.Second) }, false},
		{func() { n.pass(time.Second) }, true},
		{func() {}, false},
		{d.Forget, true},
	} {
		change.do()
		before := n.tries()
		if _, err := d.Detect(t.Context(), uint16(4000+step)); err != nil {
			t.Fatal(err)
		}
		if searched := n.tries() > before; searched != change.search {
			t.Errorf("step %d: searched %v, want %v", step, searched, change.search)
		}
	}
}

func TestFailedSearchIsCachedBriefly(t *testing.T) {
	t.Parallel()
	n := &network{answers: map[string]bool{}}
	d := n.detector(t, nil)
	fails := func(searches bool) {
		t.Helper()
		before := n.tries()
		if _, err := d.Detect(t.Context(), 4096); err == nil {
			t.Error("got an address, want none")
		}
		if searched := n.tries() > before; searched != searches {
			t.Errorf("searched %v, want %v", searched, searches)
		}
	}
	fails(true)
	fails(false)
	n.pass(pause)
	fails(true)
	n.mu.Lock()
	n.answers["192.168.1.1"] = true
	n.mu.Unlock()
	n.pass(pause)
	if got, err := d.Detect(t.Context(), 4096); err != nil || got.Addr.String() != "192.168.1.1" {
		t.Errorf("got %s, %v; want what answers now", got.Addr, err)
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		bound, hostIP, want string
		answers             bool
	}{
		"the host's own loopback":               {"127.0.0.1:4000", "", "192.168.1.1:4000", true},
		"every address":                         {"0.0.0.0:4000", "", "192.168.1.1:4000", true},
		"every address, IPv6":                   {"[::]:4000", "", "192.168.1.1:4000", true},
		"one that says where it is":             {"10.0.0.5:4000", "", "10.0.0.5:4000", true},
		"forced":                                {"10.0.0.5:4000", "10.9.9.9", "10.9.9.9:4000", false},
		"forced, IPv6":                          {"127.0.0.1:4000", "[fd00::9]", "[fd00::9]:4000", false},
		"nothing is found: stays as configured": {"127.0.0.1:4000", "", "127.0.0.1:4000", false},
	} {
		n := &network{answers: map[string]bool{"192.168.1.1": row.answers}}
		got := n.detector(t, func(o *Options) { o.HostIP = row.hostIP }).Reach(t.Context(), netip.MustParseAddrPort(row.bound))
		if got.String() != row.want {
			t.Errorf("%s: got %s, want %s", name, got, row.want)
		}
	}
}

func TestRoutingTables(t *testing.T) {
	t.Parallel()
	v4 := parseRoutes(header +
		"eth1\t00000000\t010011AC\t0003\t0\t0\t100\t00000000\t0\t0\t0\n" + // 172.17.0.1, less preferred
		ethernet +
		"eth2\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n" + // a device without a gateway
		"eth3\t0001A8C0\t0101A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" + // not a default route
		"eth4\t00000000\t0102A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n" + // down
		"torn\t00000000\n\n")
	var got []string
	for _, g := range v4 {
		got = append(got, g.addr.String())
	}
	if d := cmp.Diff([]string{"192.168.1.1", "172.17.0.1"}, got); d != "" {
		t.Errorf("IPv4 (-want +got):\n%s", d)
	}
	zero := strings.Repeat("0", 32)
	line := func(dst, length, via, metric, flags, device string) string {
		return fmt.Sprintf("%s %s %s 00 %s %s 00000001 00000000 %s %s\n", dst, length, zero, via, metric, flags, device)
	}
	v6 := parseRoutes6(line(zero, "00", "fd000000000000000000000000000001", "00000400", "00000003", "eth0") +
		line(zero, "00", "fe800000000000000000000000000001", "00000100", "00000003", "eth1") +
		line(zero, "00", zero, "ffffffff", "00200200", "lo") +
		line("fd000000000000000000000000000000", "40", "fd000000000000000000000000000009", "00000100", "00000003", "eth0"))
	got = nil
	for _, g := range v6 {
		got = append(got, g.addr.String())
	}
	if d := cmp.Diff([]string{"fe80::1%eth1", "fd00::1"}, got); d != "" {
		t.Errorf("IPv6 (-want +got):\n%s", d)
	}
}

func TestRoutingTablesOfThisMachine(t *testing.T) {
	t.Parallel()
	if _, err := defaultGateways("/proc/net/route", "/proc/net/ipv6_route"); err != nil {
		t.Error(err)
	}
	if _, err := defaultGateways("/nowhere", "/nowhere"); err == nil {
		t.Error("a table that is missing was no error")
	}
}

func FuzzRoutingTables(f *testing.F) {
	f.Add(header + ethernet)
	f.Add(strings.Repeat("0", 32) + " 00 " + strings.Repeat("0", 32) + " 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n")
	f.Fuzz(func(t *testing.T, table string) {
		for _, g := range append(parseRoutes(table), parseRoutes6(table)...) {
			if !g.addr.IsValid() || g.addr.IsUnspecified() {
				t.Errorf("got the gateway %s", g.addr)
			}
		}
	})
}
