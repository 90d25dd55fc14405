package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxName  = 253 // characters of a name in text, RFC 1035
	maxLabel = 63
)

var errName = errors.New("is not a host name: labels of letters, digits and hyphens, at least two of them, without a dot at the end")

// parseName returns a host name as programs send it, in lower case. It refuses whatever could be read in two ways: a dot at the
// end, empty labels, characters outside of ASCII (those are sent as A-labels), and names that are addresses in some notation.
func parseName(text string) (string, error) {
	if len(text) > maxName {
		return "", errName
	}
	name := strings.ToLower(text)
	labels := 0
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return "", errName
		}
		labels++
		last = label
	}
	if labels < 2 || isNumber(last) {
		return "", errName
	}
	return name, nil
}

func isLabel(label string) bool {
	if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// isNumber reports whether inet_aton or a browser would read a name that ends in this label as an IPv4 address: 127.1, 0x7f.1.
func isNumber(label string) bool {
	if hex, found := strings.CutPrefix(label, "0x"); found {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// Target is what a connection is to reach. It is comparable.
type Target struct {
	Name string     // canonical host name; empty: Addr is given
	Addr netip.Addr // an address that was written instead of a name
	Port uint16
}

// String is host:port.
func (t Target) String() string {
	port := strconv.Itoa(int(t.Port))
	switch {
	case t.Name != "":
		return t.Name + ":" + port
	case t.Addr.Is6():
		return "[" + t.Addr.String() + "]:" + port
	default:
		return t.Addr.String() + ":" + port
	}
}

// ParseTarget reads host:port, as the target of a CONNECT is written. The host is a name or an address, an IPv6 one in brackets.
func ParseTarget(text string) (Target, error) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return Target{}, fmt.Errorf("%s is not host:port", quote(text))
	}
	port, err := parsePort(text[colon+1:])
	if err != nil {
		return Target{}, fmt.Errorf("%s: %w", quote(text), err)
	}
	t, err := parseHost(text[:colon])
	if err != nil {
		return Target{}, err
	}
	t.Port = port
	return t, nil
}

// parseHost reads a name or an address, an IPv6 one in brackets. The port is 0.
func parseHost(text string) (Target, error) {
	literal := text
	if inner, found := strings.CutPrefix(text, "["); found {
		if inner, found = strings.CutSuffix(inner, "]"); !found || !strings.Contains(inner, ":") {
			return Target{}, fmt.Errorf("%s is not a host", quote(text))
		}
		literal = inner
	} else if strings.Contains(text, ":") {
		return Target{}, fmt.Errorf("%s is not a host", quote(text))
	}
	if addr, err := netip.ParseAddr(literal); err == nil {
		if addr.Zone() != "" || addr.Is4In6() {
			return Target{}, fmt.Errorf("%s is not a plain address", quote(text))
		}
		return Target{Addr: addr}, nil
	}
	name, err := parseName(text)
	if err != nil {
		return Target{}, fmt.Errorf("%s %w", quote(text), err)
	}
	return Target{Name: name}, nil
}

var errPort = errors.New("the port is not a number from 1 to 65535")

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text[0] == '0' || text[0] == '+' {
		return 0, errPort
	}
	return uint16(n), nil
}

const maxQuote = 80

// quote is text from a session, short and without control characters.
func quote(text string) string {
	if len(text) > maxQuote {
		return strconv.QuoteToASCII(text[:maxQuote]) + "…"
	}
	return strconv.QuoteToASCII(text)
}
