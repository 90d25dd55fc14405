// Package engineaddr parses addresses of engines, "tcp://host:port" and "unix:///path", as DOCKER_HOST has them.
//
// It knows their syntax and Docker's ports. It resolves no names and opens no connections.
package engineaddr

import (
	"cmp"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// The networks of an Addr, as package net names them.
const (
	TCP  = "tcp"
	Unix = "unix"
)

// Docker's registered ports.
const (
	PortTLS   = "2376"
	PortPlain = "2375"
)

// ErrSyntax is the error of text that is not an address. It does not repeat the text, which may contain a password.
var ErrSyntax = errors.New("want tcp://host:port or unix:///path")

// Addr is the address of an engine or of a guard in front of it.
type Addr struct {
	Network string // TCP or Unix
	Host    string // with TCP: a name or an IP address, without brackets
	Port    string // with TCP: empty when the address has none
	Path    string // with Unix: the socket
}

// Parse parses an address to connect to. Its error is ErrSyntax.
func Parse(text string) (Addr, error) {
	a, err := parse(text)
	if err == nil && a.Network == TCP && a.Host == "" {
		return Addr{}, ErrSyntax
	}
	return a, err
}

// ParseTCP is Parse for addresses with TCP only.
func ParseTCP(text string) (Addr, error) {
	a, err := Parse(text)
	if err == nil && a.Network != TCP {
		return Addr{}, ErrSyntax
	}
	return a, err
}

// ParseListen parses a TCP address to listen on: without a host, it is every address of this machine.
func ParseListen(text string) (Addr, error) {
	a, err := parse(text)
	if err == nil && (a.Network != TCP || a.Host == "" && a.Port == "") {
		return Addr{}, ErrSyntax
	}
	return a, err
}

func parse(text string) (Addr, error) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return Addr{}, ErrSyntax
	}
	switch {
	case u.Scheme == Unix && u.Host == "" && u.Path != "":
		return Addr{Network: Unix, Path: u.Path}, nil
	case u.Scheme == TCP && u.Opaque == "" && strings.Trim(u.Path, "/") == "" && isPort(u.Port()):
		return Addr{Network: TCP, Host: u.Hostname(), Port: u.Port()}, nil
	}
	return Addr{}, ErrSyntax
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil
}

// HostPort is "host:port" with TCP; port is used when the address has none.
func (a Addr) HostPort(port string) string { return net.JoinHostPort(a.Host, cmp.Or(a.Port, port)) }

// ForTCP is the address of a host and a port.
func ForTCP(host, port string) string { return TCP + "://" + net.JoinHostPort(host, port) }

// ForSocket is the address of a socket.
func ForSocket(path string) string { return Unix + "://" + path }

// SocketPath is the path of a socket that is written as a path or as an address.
func SocketPath(text string) string { return strings.TrimPrefix(text, Unix+"://") }

// Redacted is text without the password that it may contain, for messages.
func Redacted(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "xxxxx" + text[i:]
	}
	return text
}
