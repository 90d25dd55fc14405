package egress

import (
	"fmt"
	"net/netip"
	"slices"
)

// network is a range of addresses and what it is called in a sentence.
type network struct {
	prefix netip.Prefix
	kind   string
}

func networks(kind string, prefixes ...string) []network {
	all := make([]network, len(prefixes))
	for i, p := range prefixes {
		all[i] = network{netip.MustParsePrefix(p), kind}
	}
	return all
}

// never are addresses that nothing reaches, whatever the operator allows: services of clouds that give credentials to every
// program on the host, and addresses that are not of one host.
var never = slices.Concat(
	networks("the metadata service of a cloud",
		"169.254.0.0/16",     // AWS, Azure, Google and others; with all of link-local
		"168.63.129.16/32",   // Azure's agent
		"100.100.100.200/32", // Alibaba
		"192.0.0.192/32",     // Oracle
		"fd00:ec2::/32",      // AWS
		"fd20:ce::/32",       // Google
	),
	networks("a multicast address", "224.0.0.0/4", "ff00::/8"),
	networks("an unspecified address", "0.0.0.0/8", "::/128"),
	networks("a reserved address", "240.0.0.0/4", "192.0.0.0/24"),
	networks("a link-local address", "fe80::/10", "fec0::/10"),
	networks("an IPv4 address inside of an IPv6 one", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
)

// private are addresses that are reached if the operator names them.
var private = slices.Concat(
	networks("a private address", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
	networks("a shared address of carriers", "100.64.0.0/10"),
	networks("a loopback address", "127.0.0.0/8", "::1/128"),
)

// special are further addresses that are not public (IANA's registries of special-purpose addresses). The ranges for documentation
// are not here: nothing answers there, and tests and examples use them.
var special = networks("a reserved address", "192.88.99.0/24", "198.18.0.0/15", "2001::/23")

// global is the part of IPv6 that is public.
var global = netip.MustParsePrefix("2000::/3")

// find returns what an address is in a table; "" if it is not there.
func find(table []network, a netip.Addr) string {
	for _, n := range table {
		if n.prefix.Contains(a) {
			return n.kind
		}
	}
	return ""
}

// forbidden says what an address is that nothing reaches; "" if there is nothing against it.
func forbidden(a netip.Addr) string {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
		return "no plain address"
	}
	if a.IsLoopback() {
		return "" // ::1 is in a range of addresses with an IPv4 one inside
	}
	return find(never, a)
}

// refusedAddress says what an address is that sessions do not reach unless the operator allows it; "" for a public address.
func refusedAddress(a netip.Addr) string {
	for _, kind := range []string{forbidden(a), find(private, a), find(special, a)} {
		if kind != "" {
			return kind
		}
	}
	if a.Is6() && !global.Contains(a) {
		return "no public address"
	}
	return ""
}

// checkPrivate returns an error unless a rule can be a private target.
func checkPrivate(r Rule) error {
	if !r.prefix.IsValid() {
		return fmt.Errorf("rule %s: a private target is a network and a port, like 10.1.2.0/24:5432", r)
	}
	within := func(n network) bool {
		return n.prefix.Bits() <= r.prefix.Bits() && n.prefix.Contains(r.prefix.Addr())
	}
	if !slices.ContainsFunc(private, within) {
		return fmt.Errorf("rule %s: is not a private network; public hosts are allowed by name", r)
	}
	if kind := forbidden(r.prefix.Addr()); kind != "" {
		return fmt.Errorf("rule %s: is %s, which nothing reaches", r, kind)
	}
	if r.prefix.Addr().IsLoopback() && !r.prefix.IsSingleIP() {
		return fmt.Errorf("rule %s: loopback addresses are named one by one", r)
	}
	return nil
}
