package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	resolveTimeout = 10 * time.Second
	connectTimeout = 5 * time.Second  // for one address
	dialTimeout    = 15 * time.Second // for all of them
	maxAddresses   = 8                // of a name that are tried
	ownInterval    = 10 * time.Second // how long the host's own addresses are kept
	keepAlive      = 30 * time.Second
)

// DialOptions configure a [Dialer]. The zero value is usable.
type DialOptions struct {
	// Resolve looks up the addresses of a name, which ends with a dot unless the operator named the host. Nil: this host's resolver.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	// Own returns the addresses of this host and of the gateway, which sessions do not reach. Nil: those of the interfaces.
	Own func() ([]netip.Addr, error)
	// Sessions are the networks of the sessions' containers, which nothing reaches from here.
	Sessions []netip.Prefix
}

// Dialer connects to names, of which it resolves each once and judges the addresses. It is safe for concurrent use. Create it with
// [NewDialer].
type Dialer struct {
	opts DialOptions
	now  func() time.Time
	// connect connects to an address, which is not a name.
	connect func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	own    []netip.Addr
	ownEnd time.Time // until when own is kept
}

// NewDialer returns a Dialer.
func NewDialer(o DialOptions) *Dialer {
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	if o.Own == nil {
		o.Own = interfaceAddresses
	}
	d := net.Dialer{Timeout: connectTimeout, KeepAlive: keepAlive}
	return &Dialer{opts: o, now: time.Now, connect: d.DialContext}
}

func interfaceAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap().WithZone(""))
		}
	}
	return own, nil
}

// isOwn reports whether an address is this host's. If the addresses cannot be read, every address counts as one.
func (d *Dialer) isOwn(a netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.now(); now.After(d.ownEnd) {
		own, err := d.opts.Own()
		if err != nil {
			return true
		}
		d.own, d.ownEnd = own, now.Add(ownInterval)
	}
	return slices.Contains(d.own, a)
}

func (d *Dialer) ofSessions(a netip.Addr) bool {
	return slices.ContainsFunc(d.opts.Sessions, func(p netip.Prefix) bool { return p.Contains(a) })
}

// refused says what an address is that a session does not reach under a policy; "" if it may be dialled.
func (d *Dialer) refused(policy *Policy, a netip.Addr, port uint16) string {
	if kind := forbidden(a); kind != "" {
		return kind
	}
	if d.ofSessions(a) {
		return "an address of the sessions' own network"
	}
	own := d.isOwn(a) || a.IsLoopback()
	kind := refusedAddress(a)
	if own {
		kind = cmp.Or(kind, "an address of this host")
	}
	if kind != "" && policy.privateTarget(a, port, own) {
		return ""
	}
	return kind
}

// refusedNamed is refused for hosts that the operator names, which may be private.
func (d *Dialer) refusedNamed(a netip.Addr) string {
	if d.ofSessions(a) {
		return "an address of the sessions' own network"
	}
	return forbidden(a)
}

// Dial connects to a target that a session may reach by name under the policy. The addresses that it must not reach are left out;
// if no others are left, the error is a [*RefusedError] with [ReasonAddress]. That an allowed name has a private address beside a
// public one is no reason to refuse it (resolvers that serve IPv6-only hosts add such addresses to every name): what counts is the
// address that is dialled.
func (d *Dialer) Dial(ctx context.Context, policy *Policy, t Target) (net.Conn, error) {
	// The dot at the end keeps the resolver from trying the host's search domains.
	return d.dial(ctx, t, t.Name+".", func(a netip.Addr) string { return d.refused(policy, a, t.Port) })
}

// DialNamed connects to a host that the operator has named in the settings, such as a model's provider or a git host. It may be
// private, but not a metadata service of a cloud, nor a container of a session. Its arguments are those of a
// [net.Dialer]'s DialContext; only TCP is supported.
func (d *Dialer) DialNamed(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, fmt.Errorf("dial %s: network %s is not supported", address, network)
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	port, err := parsePort(portText)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	t := Target{Name: host, Port: port} // any name that the host's resolver knows, such as localhost
	if a, err := netip.ParseAddr(host); err == nil {
		t = Target{Addr: a, Port: port}
	}
	return d.dial(ctx, t, host, d.refusedNamed)
}

func (d *Dialer) dial(ctx context.Context, t Target, lookUp string, refused func(netip.Addr) string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addresses, err := d.resolve(ctx, t, lookUp)
	if err != nil {
		return nil, err
	}
	kind := ""
	allowed := slices.DeleteFunc(addresses, func(a netip.Addr) bool {
		k := refused(a)
		kind = cmp.Or(kind, k)
		return k != ""
	})
	if len(allowed) == 0 {
		what := t.String() + " has " + kind
		if t.Name == "" {
			what = t.String() + " is " + kind
		}
		return nil, &RefusedError{refusal(ReasonAddress, "%s, which sessions do not reach; the operator can allow it by its network and port under egress.private", what)}
	}
	// IPv4 first: where a host has addresses of both and no route for IPv6, its clients would wait for a time-out.
	slices.SortStableFunc(allowed, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	var failures []error
	for _, a := range allowed[:min(len(allowed), maxAddresses)] {
		conn, err := d.connect(ctx, "tcp", netip.AddrPortFrom(a, t.Port).String())
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// resolve returns the addresses of a target, at least one. It is the only place that looks up a name, and is called with names that
// were allowed.
func (d *Dialer) resolve(ctx context.Context, t Target, lookUp string) ([]netip.Addr, error) {
	if t.Name == "" {
		return []netip.Addr{t.Addr.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := d.opts.Resolve(ctx, lookUp)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", t.Name, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("resolve %s: there are no addresses", t.Name)
	}
	addresses := make([]netip.Addr, len(found))
	for i, a := range found {
		addresses[i] = a.Unmap() // resolvers give IPv4 addresses in the form of IPv6, which is not what a name's AAAA record says
	}
	return addresses, nil
}
