package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Rule allows one host, or the hosts below a name, on one port or two. It is comparable.
type Rule struct {
	name   string       // canonical; of a rule for subdomains the name above them
	below  bool         // the rule is for the subdomains of name, at any depth, and not for name
	prefix netip.Prefix // of a rule for addresses, instead of name
	port   uint16       // 0: defaultPorts
}

// defaultPorts are those of a rule without a port: what a URL without one can mean.
var defaultPorts = []uint16{443, 80}

// ParseRule reads a rule as operators write them:
//
//	host            on ports 443 and 80
//	host:port
//	*.host          every name below host, not host itself, on ports 443 and 80
//	*.host:port
//	10.1.2.0/24:80  addresses, IPv6 as [fd00::/64]:80; only private ones, which the operator allows separately
//
// Names may be in any case and in any script; the rule holds their A-labels.
func ParseRule(text string) (Rule, error) {
	if r, isPrefix, err := parsePrefixRule(text); isPrefix {
		return r, err
	}
	var r Rule
	host, port, hasPort := strings.Cut(text, ":")
	if hasPort {
		n, err := parsePort(port)
		if err != nil {
			return Rule{}, fmt.Errorf("rule %s: %w", quote(text), err)
		}
		r.port = n
	}
	if parent, found := strings.CutPrefix(host, "*."); found {
		host, r.below = parent, true
	}
	name, err := ruleName(host)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %s: %w", quote(text), err)
	}
	r.name = name
	return r, nil
}

// ruleName is the canonical form of an operator's name.
func ruleName(host string) (string, error) {
	if !utf8.ValidString(host) {
		return "", errors.New("is not UTF-8")
	}
	ascii := strings.IndexFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	if strings.ContainsAny(host, "。．｡") {
		return "", errors.New("has a dot that is not the ASCII one")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", errors.New("is an address: write it as a network and a port, like 10.1.2.3/32:5432, under egress.private too")
	}
	if !ascii || hasALabel(host) {
		name, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return "", fmt.Errorf("is not a host name: %w", err)
		}
		if again, err := idna.Lookup.ToASCII(name); err != nil || again != name {
			return "", errors.New("is not a host name: its A-labels can be read in another way")
		}
		host = name
	}
	return parseName(host)
}

// hasALabel reports whether a name has a label in Punycode, which is then verified.
func hasALabel(host string) bool {
	return strings.Contains("."+strings.ToLower(host), ".xn--")
}

// parsePrefixRule reads a rule for addresses. It reports false if text is not meant as one.
func parsePrefixRule(text string) (Rule, bool, error) {
	colon := strings.LastIndexByte(text, ':')
	if !strings.Contains(text, "/") || colon < 0 {
		return Rule{}, strings.Contains(text, "/"), fmt.Errorf("rule %s: a network needs a port, like 10.1.2.0/24:5432", quote(text))
	}
	port, err := parsePort(text[colon+1:])
	if err != nil {
		return Rule{}, true, fmt.Errorf("rule %s: %w", quote(text), err)
	}
	network := text[:colon]
	inner, bracketed := strings.CutPrefix(network, "[")
	if bracketed {
		network, bracketed = strings.CutSuffix(inner, "]")
	}
	prefix, err := netip.ParsePrefix(network)
	if err != nil || prefix.Masked() != prefix || prefix.Addr().Is4In6() || prefix.Addr().Is6() != bracketed {
		return Rule{}, true, fmt.Errorf("rule %s: is not a network and a port like 10.1.2.0/24:5432 or [fd00::/64]:5432", quote(text))
	}
	return Rule{prefix: prefix, port: port}, true, nil
}

// String is the rule as ParseRule reads it.
func (r Rule) String() string {
	text := r.name
	switch {
	case r.prefix.Addr().Is4():
		text = r.prefix.String()
	case r.prefix.IsValid():
		text = "[" + r.prefix.String() + "]"
	case r.below:
		text = "*." + r.name
	}
	if r.port != 0 {
		text += ":" + strconv.Itoa(int(r.port))
	}
	return text
}

// ports are those that the rule allows.
func (r Rule) ports() []uint16 {
	if r.port == 0 {
		return defaultPorts
	}
	return []uint16{r.port}
}

// Matches reports whether the rule allows a target.
func (r Rule) Matches(t Target) bool {
	return r.hasPort(t.Port) && r.matchesHost(t)
}

func (r Rule) hasPort(port uint16) bool {
	if r.port == 0 {
		return port == 443 || port == 80
	}
	return port == r.port
}

// matchesHost is Matches for any port.
func (r Rule) matchesHost(t Target) bool {
	switch {
	case r.prefix.IsValid():
		return t.Name == "" && r.prefix.Contains(t.Addr)
	case r.below:
		return strings.HasSuffix(t.Name, "."+r.name)
	default:
		return t.Name != "" && t.Name == r.name
	}
}

// coversHosts reports whether every host of the other rule is one of r, whatever the ports.
func (r Rule) coversHosts(o Rule) bool {
	switch {
	case r.prefix.IsValid() || o.prefix.IsValid():
		return r.prefix.IsValid() && o.prefix.IsValid() && r.prefix.Bits() <= o.prefix.Bits() && r.prefix.Contains(o.prefix.Addr())
	case r.below:
		return strings.HasSuffix(o.name, "."+r.name) || o.below && o.name == r.name
	default:
		return !o.below && o.name == r.name
	}
}
