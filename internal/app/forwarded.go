package app

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
)

// trustedProxies are the networks whose X-Forwarded headers are believed.
type trustedProxies []netip.Prefix

func (t trustedProxies) has(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(t, func(network netip.Prefix) bool { return network.Contains(address) })
}

// applyForwarded puts the client's address into r.RemoteAddr, and leaves X-Forwarded-Proto in the request only if it is
// believed, with one value. Everything after it reads no other forwarded header. believeProto: X-Forwarded-Proto of any peer
// is believed.
func (t trustedProxies) applyForwarded(r *http.Request, believeProto bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !t.has(peer.Addr()) {
		if !believeProto {
			delete(r.Header, forwardedProto)
		}
		return
	}
	hops, protos := listOf(r.Header[forwardedFor]), listOf(r.Header[forwardedProto])
	client, at := t.client(hops)
	if client.IsValid() {
		r.RemoteAddr = client.String()
	}
	delete(r.Header, forwardedProto)
	if len(protos) == 0 {
		return
	}
	proto := protos[len(protos)-1]
	if len(protos) == len(hops) && at >= 0 { // each proxy has added its own
		proto = protos[at]
	}
	if proto = strings.ToLower(proto); proto == "http" || proto == "https" {
		r.Header.Set(forwardedProto, proto)
	}
}

// client is the last hop that is no trusted proxy, or the first one if all are; invalid, at -1, if there is none. An entry
// that is no address ends the search: who wrote it and what stands before it is not known.
func (t trustedProxies) client(hops []string) (client netip.AddrPort, at int) {
	at = -1
	for i, hop := range slices.Backward(hops) {
		address, ok := parseHop(hop)
		if !ok {
			break
		}
		client, at = address, i
		if !t.has(address.Addr()) {
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
