package access

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestThrottleAllowsBurstThenOnePerSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, here := NewThrottle(), netip.MustParseAddr("192.0.2.1")
		if limit.Limited(here) {
			t.Error("who has shown nothing is limited")
		}
		for i := range Burst {
			if wait := limit.Failed(here, Wrong); wait != 0 {
				t.Fatalf("wrong token %d: got a wait of %s, want none", i+1, wait)
			}
		}
		for range 100 { // a flood does not make the wait longer
			if wait := limit.Failed(here, Wrong); wait <= 0 || wait > Every {
				t.Fatalf("one too many: got a wait of %s, want up to %s", wait, Every)
			}
		}
		if !limit.Limited(here) || limit.Limited(here.Next()) {
			t.Errorf("limited: got here %v, next door %v; want true and false", limit.Limited(here), limit.Limited(here.Next()))
		}
		<-time.After(Every)
		if limit.Limited(here) || limit.Failed(here, Wrong) != 0 || limit.Failed(here, Wrong) == 0 {
			t.Error("a second later: want one more to be looked at, and one only")
		}
		<-time.After(time.Hour)
		for i := range Burst + 1 {
			if wait := limit.Failed(here, Wrong); (wait == 0) != (i < Burst) {
				t.Errorf("after an hour, wrong token %d: got a wait of %s", i+1, wait)
			}
		}
	})
}

func TestThrottleSiteIsAddressOrIPv6Prefix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:65535", true},
		{"192.0.2.1:1", "192.0.2.1:0", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1]:2", true},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
		{"nowhere", "", true},
		{"nowhere", "192.0.2.1:1", false},
	} {
		site := func(peer string) netip.Addr { return Proxies(nil).Client(peer, false, nil, nil, false).Site }
		if got := site(c.a) == site(c.b); got != c.same {
			t.Errorf("%s and %s are one site: got %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

func TestThrottleMemoryIsBounded(t *testing.T) {
	t.Parallel()
	limit := NewThrottle()
	first := netip.MustParseAddr("10.0.0.0")
	for range Burst + 1 {
		limit.Failed(first, Wrong)
	}
	for i := 1; i < 3*addresses; i++ {
		limit.Failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Wrong)
		if i%1000 == 0 && i < addresses {
			limit.Failed(first, Wrong) // goes on, and is not forgotten for it
		}
		if i == addresses && !limit.Limited(first) {
			t.Error("an address that goes on was forgotten")
		}
	}
	if len(limit.sites.known) != addresses || limit.sites.recent.Len() != addresses {
		t.Errorf("remembers %d addresses in a list of %d, want %d", len(limit.sites.known), limit.sites.recent.Len(), addresses)
	}
	if limit.Limited(first) {
		t.Error("an address that was silent for longest is still remembered")
	}
}
