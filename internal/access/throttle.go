package access

import (
	"net/netip"
	"time"
)

// How many requests without a valid token an address may send.
const (
	Burst     = 10          // at once
	Every     = time.Second // and then one in this time
	addresses = 8192        // that are remembered; beyond, the least recently used are evicted
	sitePart  = 64          // bits of an IPv6 address that name a site
)

// AddressThrottle counts rejected requests by the address that they come from. It is safe for concurrent use. Its memory
// is bounded: about two megabytes, however many addresses there are.
type AddressThrottle struct{ sites *Limiter[netip.Addr] }

// NewThrottle returns an AddressThrottle that has counted nothing.
func NewThrottle() *AddressThrottle {
	return &AddressThrottle{NewLimiter[netip.Addr](Burst, Every, addresses)}
}

// Failed counts a rejected request from a site and returns how long it is until the next one would be looked at; 0: this
// one was. A missing or expired token counts like a wrong one: each costs the same work.
func (t *AddressThrottle) Failed(site netip.Addr, _ TokenState) time.Duration {
	return t.sites.Take(site)
}

// Limited reports whether requests without a valid token are not looked at now. It counts nothing.
func (t *AddressThrottle) Limited(site netip.Addr) bool { return t.sites.Exhausted(site) }

// siteOf is what an address is counted under: itself, or for IPv6 the first address of its /64. What is no address is one
// site, the zero one.
func siteOf(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if !address.IsValid() || address.Is4() {
		return address
	}
	prefix, err := address.Prefix(sitePart)
	if err != nil {
		return netip.Addr{}
	}
	return prefix.Addr()
}
