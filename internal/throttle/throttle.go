// Package throttle counts wrong tokens by the address that they come from, and says who has shown so many that another
// one is not worth any work.
//
// It knows addresses and time. It refuses to know tokens: whoever shows the right one is none of its business.
package throttle

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What an address may do.
const (
	Burst     = 10          // wrong tokens at once
	Every     = time.Second // and then one in this time
	addresses = 8192        // that are remembered; beyond, those that were silent for longest are forgotten
	sitePart  = 64          // bits of an IPv6 address that name a site, which has all the others to itself
)

// Throttle is safe for concurrent use. Its memory is bounded: about two megabytes, however many addresses there are.
type Throttle struct {
	mu     sync.Mutex
	known  map[netip.Addr]*list.Element
	recent *list.List // of *site, the one heard of last first
}

type site struct {
	address netip.Addr
	left    *rate.Limiter
}

// New returns a Throttle that knows nobody.
func New() *Throttle { return &Throttle{known: map[netip.Addr]*list.Element{}, recent: list.New()} }

// Failed counts a wrong token from an address ("ip:port" or "ip") and returns how long it is until the next one would be
// looked at; 0: this one was.
func (t *Throttle) Failed(remote string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	left := t.of(siteOf(remote))
	if left.AllowN(now, 1) {
		return 0
	}
	return wait(left, now)
}

// Limited reports whether wrong tokens from an address are not looked at now. It counts nothing.
func (t *Throttle) Limited(remote string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.known[siteOf(remote)]
	return ok && wait(e.Value.(*site).left, time.Now()) > 0 //nolint:forcetypeassert // nothing else is in the list
}

// wait is how long it is until there is one token more in the bucket.
func wait(left *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - left.TokensAt(now)
	return max(0, time.Duration(missing*float64(Every)))
}

// of returns the bucket of a site. The caller holds mu.
func (t *Throttle) of(address netip.Addr) *rate.Limiter {
	if e, ok := t.known[address]; ok {
		t.recent.MoveToFront(e)
		return e.Value.(*site).left //nolint:forcetypeassert // nothing else is in the list
	}
	if t.recent.Len() >= addresses {
		oldest := t.recent.Back()
		delete(t.known, t.recent.Remove(oldest).(*site).address) //nolint:forcetypeassert // nothing else is in the list
	}
	s := &site{address: address, left: rate.NewLimiter(rate.Every(Every), Burst)}
	t.known[address] = t.recent.PushFront(s)
	return s.left
}

// siteOf is whom an address stands for: itself, or all of its /64. What is no address is one site, the zero one.
func siteOf(remote string) netip.Addr {
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
