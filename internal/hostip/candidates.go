package hostip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// usual are the default addresses of the host in Docker's networks, Docker Desktop and virtual machines.
var usual = []string{
	"172.17.0.1", "172.18.0.1", "172.19.0.1", "172.20.0.1", // Docker's first bridges
	"192.168.65.254", "192.168.65.2", // Docker Desktop
	"10.0.2.2",     // NAT of VirtualBox and QEMU
	"192.168.64.1", // virtual machines of macOS
}

var (
	errNone    = errors.New("there is none")
	errNotSet  = errors.New("not set")
	errPublic  = errors.New("a public address, which is not guessed to be the Docker host's")
	errTwice   = errors.New("tried above")
	errNoHosts = errors.New("its network has no other host")
)

// candidates lists what may be the Docker host, in order; those with an error are not tried.
func (d *Detector) candidates(ctx context.Context) []Candidate {
	if d.opts.HostIP != "" {
		return d.named(ctx, Forced, d.opts.HostIP)
	}
	all := d.guesses(d.named(ctx, DockerName, string(DockerName)))
	set := false
	for _, value := range []string{d.opts.DockerHostGateway, d.opts.Gateway} {
		if value != "" {
			set = true
			all = append(all, d.named(ctx, Gateways, value)...)
		}
	}
	if !set {
		all = append(all, Candidate{Source: Gateways, Err: errNotSet})
	}
	all = append(all, d.guesses(d.routes())...)
	all = append(all, d.guesses(d.network(ctx))...)
	for _, text := range usual {
		all = append(all, Candidate{Source: Common, Addr: netip.MustParseAddr(text)})
	}
	seen := map[netip.Addr]bool{}
	for i, c := range all {
		if c.Err == nil && seen[c.Addr] {
			all[i].Err = errTwice
		}
		seen[c.Addr] = seen[c.Addr] || c.Err == nil
	}
	return all
}

// guesses leaves out public addresses that were not configured: a foreign server may answer there.
func (d *Detector) guesses(all []Candidate) []Candidate {
	for i, c := range all {
		if c.Err == nil && !inside(c.Addr) {
			all[i].Err = errPublic
		}
	}
	return all
}

var shared = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598: carriers' and overlay networks' private space

func inside(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || shared.Contains(a)
}

// named resolves an address or a name.
func (d *Detector) named(ctx context.Context, source Source, value string) []Candidate {
	value = strings.TrimSpace(value)
	if ip, err := netip.ParseAddr(strings.Trim(value, "[]")); err == nil {
		return located(source, []netip.Addr{ip}, nil)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := d.opts.Resolve(ctx, value)
	if err != nil {
		return located(source, nil, fmt.Errorf("%s: %w", value, err))
	}
	return located(source, addrs, fmt.Errorf("%s: %w", value, errNone))
}

// routes are the gateways of the default routes.
func (d *Detector) routes() []Candidate {
	gateways, err := defaultGateways(d.opts.Routes, d.opts.Routes6)
	return located(Route, gateways, cmp.Or(err, errNone))
}

// located are the addresses of a source, or why it has none.
func located(source Source, addrs []netip.Addr, none error) []Candidate {
	if len(addrs) == 0 {
		return []Candidate{{Source: source, Err: none}}
	}
	var all []Candidate
	for _, ip := range addrs {
		all = append(all, Candidate{Source: source, Addr: ip.Unmap()})
	}
	return all
}

// network are this machine's own address towards other networks, in case it is the Docker host, and the first address of its
// network, which a bridge usually has.
func (d *Detector) network(ctx context.Context) []Candidate {
	prefix, err := d.opts.Own(ctx)
	if err != nil {
		return []Candidate{{Source: Connection, Err: err}}
	}
	all := []Candidate{{Source: Connection, Addr: prefix.Addr().Unmap()}}
	first := prefix.Masked().Addr().Next()
	if prefix.IsSingleIP() || !prefix.Contains(first) {
		return append(all, Candidate{Source: Connection, Err: errNoHosts})
	}
	return append(all, Candidate{Source: Connection, Addr: first.Unmap()})
}

// elsewhere is an address that is never assigned (RFC 5737). A UDP socket that is connected to it shows this machine's source
// address, and sends nothing.
const elsewhere = "192.0.2.1:9"

// own finds this machine's source address towards other networks.
func own(ctx context.Context) (netip.Prefix, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", elsewhere)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return netip.Prefix{}, err
	}
	defer func() { _ = conn.Close() }()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return netip.Prefix{}, err
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, i := range interfaces {
		if prefix, err := netip.ParsePrefix(i.String()); err == nil && prefix.Addr().Unmap() == local.Addr().Unmap() {
			return prefix, nil
		}
	}
	return netip.PrefixFrom(local.Addr(), local.Addr().BitLen()), nil
}
