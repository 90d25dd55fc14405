package egress

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestAddressesThatAreNotPublicAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9", "169.254.169.254", "169.254.1.1",
		"172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.1", "192.0.0.192", "192.88.99.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.1.1.1",
		"240.0.0.1", "255.255.255.255", "168.63.129.16", "100.100.100.200", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1",
		"64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:1234::1", "2001:10::1", "2001:20::1", "2002:a00:1::1", "fc00::1", "fd00::1", "fd00:ec2::254",
		"fd20:ce::254", "fe80::1", "fec0::1", "ff02::1", "4000::1", "5f00::1", "::ffff:0:10.0.0.1", "fe80::1%eth0",
	} {
		if refusedAddress(netip.MustParseAddr(text)) == "" {
			t.Errorf("%s counts as public", text)
		}
	}
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "192.167.0.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
		"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2606:4700::1", "2001:4860:4860::8888", "2a00::1",
	} {
		if kind := refusedAddress(netip.MustParseAddr(text)); kind != "" {
			t.Errorf("%s counts as %s, want public", text, kind)
		}
	}
}

func TestDialJudgesAddressesAfterResolving(t *testing.T) {
	t.Parallel()
	own := func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("203.0.113.99"), netip.MustParseAddr("10.5.0.1")}, nil
	}
	policy := newPolicy(t, nil, "10.1.2.0/24:5432", "127.0.0.1/32:5432", "10.0.0.0/8:8080", "10.5.0.1/32:9090")
	for _, c := range []struct {
		why       string
		addresses []string
		port      uint16
		dialled   string // empty: refused
	}{
		{"public", []string{"203.0.113.7"}, 443, "203.0.113.7:443"},
		{"public IPv6", []string{"2001:db8::7"}, 443, "[2001:db8::7]:443"},
		{"IPv4 in the form that resolvers give", []string{"::ffff:203.0.113.7"}, 443, "203.0.113.7:443"},
		{"IPv4 goes first", []string{"2001:db8::7", "203.0.113.7"}, 443, "203.0.113.7:443"},
		{"private", []string{"10.0.0.7"}, 443, ""},
		{"private in the form of IPv6", []string{"::ffff:10.0.0.7"}, 443, ""},
		{"NAT64 of a private one", []string{"64:ff9b::a00:7"}, 443, ""},
		{"6to4 of a private one", []string{"2002:a00:7::1"}, 443, ""},
		{"carrier", []string{"100.64.1.1"}, 443, ""},
		{"loopback", []string{"127.0.0.1"}, 443, ""},
		{"loopback IPv6", []string{"::1"}, 443, ""},
		{"metadata", []string{"169.254.169.254"}, 80, ""},
		{"our own public one", []string{"203.0.113.99"}, 443, ""},
		{"rebinding: a public and a private one", []string{"10.0.0.7", "203.0.113.7"}, 443, "203.0.113.7:443"},
		{"rebinding: private ones only", []string{"10.0.0.7", "169.254.169.254"}, 443, ""},
		{"a private target", []string{"10.1.2.7"}, 5432, "10.1.2.7:5432"},
		{"its other port", []string{"10.1.2.7"}, 443, ""},
		{"a neighbour of it", []string{"10.1.3.7"}, 5432, ""},
		{"loopback by name", []string{"127.0.0.1"}, 5432, "127.0.0.1:5432"},
		{"own address in an allowed range", []string{"10.5.0.1"}, 8080, ""},
		{"another one of that range", []string{"10.5.0.2"}, 8080, "10.5.0.2:8080"},
		{"own address that is allowed alone", []string{"10.5.0.1"}, 9090, "10.5.0.1:9090"},
		{"a container in an allowed range", []string{"10.77.0.5"}, 8080, ""},
	} {
		out := &outside{names: map[string][]netip.Addr{}, servers: map[string]string{}}
		d := NewDialer(DialOptions{Resolve: out.resolve, Own: own, Sessions: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}})
		d.connect = out.connect
		out.name("a.example", c.addresses...)
		_, err := d.Dial(t.Context(), policy, Target{Name: "a.example", Port: c.port})
		refused, isRefused := errors.AsType[*RefusedError](err)
		lookedUp, dialled := out.left()
		if !slices.Equal(lookedUp, []string{"a.example."}) {
			t.Errorf("%s: looked up %q, want the absolute name once", c.why, lookedUp)
		}
		if c.dialled == "" {
			if !isRefused || refused.Verdict.Reason != ReasonAddress || len(dialled) > 0 {
				t.Errorf("%s: got %v and dialled %q, want a refusal", c.why, err, dialled)
			}
			continue
		}
		if isRefused || len(dialled) == 0 || dialled[0] != c.dialled {
			t.Errorf("%s: got %v, dialled %q, want %s first", c.why, err, dialled, c.dialled)
		}
	}
}

func TestDialTriesTheNextAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("a.example", "203.0.113.1", "203.0.113.2")
	f.server(t, "203.0.113.2:443", func(*net.TCPConn) {})
	conn, err := f.dialer.Dial(t.Context(), f.policy.Load(), Target{Name: "a.example", Port: 443})
	if err != nil {
		t.Fatalf("got %v, want the second address", err)
	}
	conn.Close()
}

func TestDialFailsClosedWithoutOwnAddresses(t *testing.T) {
	t.Parallel()
	out := &outside{names: map[string][]netip.Addr{}}
	out.name("a.example", "203.0.113.1")
	d := NewDialer(DialOptions{Resolve: out.resolve, Own: func() ([]netip.Addr, error) { return nil, errors.New("no such file") }})
	d.connect = out.connect
	_, err := d.Dial(t.Context(), newPolicy(t, nil), Target{Name: "a.example", Port: 443})
	if _, refused := errors.AsType[*RefusedError](err); !refused {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestDialNamedReachesPrivateHostsOfTheOperator(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("git.corp", "10.9.9.9")
	f.out.name("metadata.corp", "169.254.169.254")
	f.out.name("container.corp", "10.77.0.5")
	for address, want := range map[string]string{
		"git.corp:443": "10.9.9.9:443", "127.0.0.1:11434": "127.0.0.1:11434", "[::1]:11434": "[::1]:11434", "203.0.113.99:443": "203.0.113.99:443",
		"metadata.corp:80": "", "169.254.169.254:80": "", "container.corp:80": "", "10.77.0.5:80": "", "0.0.0.0:80": "", "[::ffff:169.254.169.254]:80": "", "git.corp:0": "",
	} {
		_, before := f.out.left()
		_, err := f.dialer.DialNamed(t.Context(), "tcp", address)
		_, after := f.out.left()
		dialled := slices.Concat(after[len(before):], []string{""})[0]
		if err == nil || dialled != want {
			t.Errorf("%s: got %v, dialled %q, want %q", address, err, dialled, want)
		}
	}
	if _, err := f.dialer.DialNamed(t.Context(), "unix", "/run/x"); err == nil {
		t.Error("unix: got no error")
	}
}

// TestOwnAddressesAreReadAgain: a host gets addresses while it runs.
func TestOwnAddressesAreReadAgain(t *testing.T) {
	t.Parallel()
	var own []netip.Addr
	d := NewDialer(DialOptions{Own: func() ([]netip.Addr, error) { return own, nil }})
	now := time.Now()
	d.now = func() time.Time { return now }
	a := netip.MustParseAddr("203.0.113.1")
	if d.isOwn(a) {
		t.Fatal("the address counts as ours")
	}
	own = []netip.Addr{a}
	now = now.Add(ownInterval + time.Second)
	if !d.isOwn(a) {
		t.Error("a new address does not count as ours")
	}
	if all, err := interfaceAddresses(); err != nil || !slices.Contains(all, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("addresses of this host: got %v, %v, want loopback among them", all, err)
	}
}
