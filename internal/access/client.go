package access

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// Client is where a request came from.
type Client struct {
	AddrPort netip.AddrPort // invalid: not known; port 0: only the address is
	Address  string         // the same for records, without a port that is not known
	Site     netip.Addr     // what requests are counted under: the address, or for IPv6 the first one of its /64
	Scheme   string         // of the address that the client used: "http" or "https"

	// OnAdmitted is called once, when the client's first request with a valid token is admitted. nil: not called.
	OnAdmitted func(Principal, Surface)

	principal atomic.Pointer[Principal]
}

// Principal is who made the request; anonymous before it is admitted.
func (c *Client) Principal() Principal {
	if p := c.principal.Load(); p != nil {
		return *p
	}
	return Principal{}
}

// admit notes that the request came with a valid token.
func (c *Client) admit(p Principal, s Surface) {
	if c.principal.CompareAndSwap(nil, &p) && c.OnAdmitted != nil {
		c.OnAdmitted(p, s)
	}
}

type clientKey struct{}

// WithClient returns ctx with the client of its request.
func WithClient(ctx context.Context, c *Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// ClientOf returns the client of ctx; an empty one if there is none. It is never nil.
func ClientOf(ctx context.Context) *Client {
	if c, ok := ctx.Value(clientKey{}).(*Client); ok {
		return c
	}
	return &Client{}
}

// Proxies are the networks of trusted proxies in front. Their X-Forwarded headers are believed.
type Proxies []netip.Prefix

func (n Proxies) has(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(n, func(network netip.Prefix) bool { return network.Contains(address) })
}

// Client finds out who sent a request. peer is the other end of the connection, which is encrypted or not; forwardedFor
// and forwardedProto are the values of the request's headers X-Forwarded-For and X-Forwarded-Proto. With believeProto the
// scheme that any peer forwards is believed.
func (n Proxies) Client(peer string, encrypted bool, forwardedFor, forwardedProto []string, believeProto bool) *Client {
	c := &Client{Address: peer, Scheme: "http"}
	if encrypted {
		c.Scheme = "https"
	}
	address, err := netip.ParseAddrPort(peer)
	switch {
	case err == nil && n.has(address.Addr()):
		hops := listOf(forwardedFor)
		client, at := n.last(hops)
		if client.IsValid() {
			address = client
		}
		c.believe(listOf(forwardedProto), len(hops), at)
	case believeProto && len(forwardedProto) > 0:
		// The last entry is that of the proxy next to us; earlier entries can be forged.
		c.Scheme = "http"
		all := strings.Split(forwardedProto[len(forwardedProto)-1], ",")
		if strings.EqualFold(strings.TrimSpace(all[len(all)-1]), "https") {
			c.Scheme = "https"
		}
	}
	if !address.IsValid() {
		return c
	}
	c.AddrPort, c.Site, c.Address = address, siteOf(address.Addr()), address.String()
	if address.Port() == 0 {
		c.Address = address.Addr().String()
	}
	return c
}

// believe takes the scheme from the entries of trusted proxies; at is the client's place among the hops, -1 if none of
// them is a client.
func (c *Client) believe(schemes []string, hops, at int) {
	if len(schemes) == 0 {
		return
	}
	scheme := schemes[len(schemes)-1]
	if len(schemes) == hops && at >= 0 { // each proxy has added its own
		scheme = schemes[at]
	}
	if scheme = strings.ToLower(scheme); scheme == "http" || scheme == "https" {
		c.Scheme = scheme
	}
}

// last is the last hop that is no trusted proxy, or the first one if all are; invalid, at -1, if there is none. An entry
// that is no address ends the search: it and earlier entries cannot be trusted.
func (n Proxies) last(hops []string) (client netip.AddrPort, at int) {
	at = -1
	for i, hop := range slices.Backward(hops) {
		address, ok := parseHop(hop)
		if !ok {
			break
		}
		client, at = address, i
		if !n.has(address.Addr()) {
			break
		}
	}
	return client, at
}

// parseHop reads an address with or without its port; without, the port is 0.
func parseHop(text string) (netip.AddrPort, bool) {
	if both, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(both.Addr().Unmap().WithZone(""), both.Port()), true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(address.Unmap().WithZone(""), 0), true
}

// listOf are the entries of headers that hold lists, in order.
func listOf(headers []string) []string {
	var all []string
	for _, header := range headers {
		for entry := range strings.SplitSeq(header, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				all = append(all, entry)
			}
		}
	}
	return all
}
