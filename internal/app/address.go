package app

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/internal/atomicfile"
)

// AddressOf returns the URL at which the Berth that keeps its state there is reached from this machine; "" when none
// serves or the file may not be read. A Berth that was killed leaves its last address behind.
func AddressOf(stateDir string) string {
	text, err := os.ReadFile(filepath.Join(stateDir, addressFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// publishAddress writes down where this process serves, for the command line on this machine. A disk that is full must
// not keep Berth from serving, so a failure is only logged.
func (a *App) publishAddress(ctx context.Context, s state) {
	url := localURL(a.socket.Addr())
	if url == "" { // not a TCP socket: nothing that the command line could call
		return
	}
	path := s.path(addressFile)
	if err := atomicfile.Write(path, []byte(url+"\n"), ownerOnly, string(s)); err != nil {
		a.log.WarnContext(ctx, "address not written, the command line needs --url", "path", path, "error", err)
		return
	}
	a.onStop("address", func(context.Context) error { return atomicfile.Remove(path) })
}

// localURL is how a listener is reached from its own machine: one on every address is reached at the loopback address.
func localURL(addr net.Addr) string {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return ""
	}
	ip := at.Addr().Unmap()
	if ip.IsUnspecified() { // also of IPv6, which a wildcard includes even where it does not work
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return "http://" + net.JoinHostPort(ip.String(), strconv.Itoa(int(at.Port())))
}
