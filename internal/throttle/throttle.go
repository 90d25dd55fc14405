// Package throttle counts refused requests by the address that they come from, and says which address has been refused so
// often that its next request is not worth any work.
//
// It knows addresses and time. It refuses to know tokens: requests with a valid one are not counted here.
package throttle

import (
	"net/netip"
	"time"
)

// What an address may do.
const (
	Burst     = 10          // refused requests at once
	Every     = time.Second // and then one in this time
	addresses = 8192        // that are remembered; beyond, those that were silent for longest are forgotten
	sitePart  = 64          // bits of an IPv6 address that name a site, which has all the others to itself
)

// Throttle is safe for concurrent use. Its memory is bounded: about two megabytes, however many addresses there are.
type Throttle struct{ sites *Limiter[netip.Addr] }

// New returns a Throttle that has counted nothing.
func New() *Throttle { return &Throttle{NewLimiter[netip.Addr](Burst, Every, addresses)} }

// Failed counts a refused request from an address ("ip:port" or "ip") and returns how long it is until the next one would
// be looked at; 0: this one was.
func (t *Throttle) Failed(remote string) time.Duration { return t.sites.Take(SiteOf(remote)) }

// Limited reports whether requests without a valid token are not looked at now. It counts nothing.
func (t *Throttle) Limited(remote string) bool { return t.sites.Exhausted(SiteOf(remote)) }

// SiteOf is what an address ("ip:port" or "ip") is counted under: itself, or for IPv6 the first address of its /64. What is
// no address is one site, the zero one.
func SiteOf(remote string) netip.Addr {
	var address netip.Addr
	if both, err := netip.ParseAddrPort(remote); err == nil {
		address = both.Addr()
	} else if address, err = netip.ParseAddr(remote); err != nil {
		return netip.Addr{}
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address
	}
	prefix, err := address.Prefix(sitePart)
	if err != nil {
		return netip.Addr{}
	}
	return prefix.Addr()
}
