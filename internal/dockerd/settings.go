package dockerd

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth/internal/engineaddr"
)

// setting is one key of daemon.json as it should be.
type setting struct {
	key   string
	value any
	// must is a setting without which the set-up would not be what it says; for any other, an existing value or
	// flag has precedence.
	must bool
	// unless names keys that make this one unnecessary: with one of them the operator has decided already.
	unless []string
	why    string
}

// settings are all that is set, in the order in which they are added. docs/decisions says why each is as it is.
func settings(p paths, hosts []string) []setting {
	return []setting{
		{key: "hosts", value: hosts, must: true, why: "where the engine listens"},
		{key: "tls", value: true, must: true, why: "TLS on every TCP address"},
		{key: "tlsverify", value: true, must: true, why: "clients without our certificate are refused"},
		{key: "tlscacert", value: p.ca, must: true, why: "the authority of clients"},
		{key: "tlscert", value: p.cert, must: true, why: "the engine's certificate"},
		{key: "tlskey", value: p.key, must: true, why: "the engine's key"},
		{key: "iptables", value: true, must: true, why: "without it nothing separates networks, and published ports never answer"},
		{key: "userland-proxy", value: false, why: "one process less per published port"},
		{key: "live-restore", value: true, why: "containers outlive a restart of the engine"},
		{key: "no-new-privileges", value: true, why: "no process gains privileges by what it executes"},
		{key: "log-driver", value: "local", unless: []string{"log-opts"}, why: "logs that are rotated"},
		{key: "log-opts", value: map[string]string{"max-file": "3", "max-size": "10m"}, unless: []string{"log-driver"}, why: "logs that end"},
	}
}

// change is one key of daemon.json that becomes another.
type change struct {
	key, why string
}

// merge returns the document with the settings in it. Keys that no setting names stay as they are.
func merge(d document, wanted []setting, taken func(setting) bool) (document, []change, error) {
	before, changes := d, []change{}
	for _, s := range wanted {
		if wrong := before.misspelled(s.key); wrong != "" {
			return d, nil, fmt.Errorf("%q is not a setting of the engine: it is spelled %q", wrong, s.key)
		}
		decided := before.has(s.key) || taken(s) || slices.ContainsFunc(s.unless, before.has)
		if before.same(s.key, s.value) || decided && !s.must {
			continue
		}
		d = d.with(s.key, encode(s.value, d.indent))
		changes = append(changes, change{s.key, s.why})
	}
	return d, changes, nil
}

// unmerge returns the document with every key that a set-up could have touched as it was in original.
func unmerge(d, original document) document {
	for _, s := range settings(paths{}, nil) {
		if raw := original.raw(s.key); raw != nil {
			d = d.with(s.key, raw)
		} else {
			d = d.without(s.key)
		}
	}
	return d
}

// hostList is the value of hosts: the local sockets, then the addresses.
func hostList(sockets []string, listen []netip.AddrPort) []string {
	hosts := slices.Clone(sockets)
	for _, l := range listen {
		hosts = append(hosts, engineaddr.ForTCP(l.Addr().String(), strconv.Itoa(int(l.Port()))))
	}
	return hosts
}

// localSockets are the hosts in use that are no network address, the engine's default if there is none. A socket that
// systemd opens and the same one by its path would be one too many.
func localSockets(inUse []string, fallback string) []string {
	var sockets []string
	for _, h := range inUse {
		scheme, _, found := strings.Cut(h, "://")
		if found && (scheme == "unix" || scheme == "fd") && !slices.Contains(sockets, h) {
			sockets = append(sockets, h)
		}
	}
	if slices.ContainsFunc(sockets, func(h string) bool { return strings.HasPrefix(h, "fd://") }) {
		sockets = slices.DeleteFunc(sockets, func(h string) bool {
			return h == "unix:///var/run/docker.sock" || h == "unix:///run/docker.sock"
		})
	}
	if len(sockets) == 0 {
		return []string{engineaddr.ForSocket(fallback)}
	}
	return sockets
}

// listensOn reports whether one of the hosts is the TCP port.
func listensOn(hosts []string, port uint16) bool {
	return slices.ContainsFunc(hosts, func(h string) bool {
		at, err := engineaddr.ParseListen(h)
		return err == nil && at.Port == strconv.Itoa(int(port))
	})
}

// ParseListen reads an address to listen on: an IP address, with or without a port, with or without tcp:// before it.
// A name is none: the engine would listen on whatever it resolves to at its next start.
func ParseListen(text string, port uint16) (netip.AddrPort, error) {
	bare := strings.TrimPrefix(text, "tcp://")
	if at, err := netip.ParseAddrPort(bare); err == nil {
		if at.Port() == 0 || at.Addr().Zone() != "" {
			return netip.AddrPort{}, fmt.Errorf("listen address %q: it needs a port other than 0 and no zone", text)
		}
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(bare, "["), "]"))
	if err != nil || addr.Zone() != "" || port == 0 {
		return netip.AddrPort{}, fmt.Errorf("listen address %q: want an IP address and a port, such as 127.0.0.1:%d", text, DefaultPort)
	}
	return netip.AddrPortFrom(addr.Unmap(), port), nil
}

// decodeBool reads a key that holds true or false; false when it is missing or something else.
func (d document) decodeBool(key string) bool {
	var value bool
	return json.Unmarshal(d.raw(key), &value) == nil && value
}
