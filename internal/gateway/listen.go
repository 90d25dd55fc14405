package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/session"
)

// Listen listens on an address of a bridge, which may not exist yet: the engine makes it with the first container.
func Listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	config := net.ListenConfig{Control: freely}
	l, err := config.Listen(ctx, "tcp4", at.String())
	return l, explain(at, err)
}

// ListenPacket is [Listen] for UDP.
func ListenPacket(ctx context.Context, at netip.AddrPort) (net.PacketConn, error) {
	config := net.ListenConfig{Control: freely}
	c, err := config.ListenPacket(ctx, "udp4", at.String())
	return c, explain(at, err)
}

// freely lets a socket be bound to an address that no interface has.
func freely(_, _ string, raw syscall.RawConn) error {
	var fault error
	err := raw.Control(func(fd uintptr) { fault = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
	return errors.Join(err, fault)
}

func explain(at netip.AddrPort, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		return session.Errorf(session.CodeConflict, "the gateway cannot listen on %s, which another program uses: stop it, or give Berth another "+
			"GATEWAY_PORT or SESSION_SUBNET", at).Because(err)
	case errors.Is(err, unix.EACCES):
		return session.Errorf(session.CodeForbidden, "the gateway may not listen on %s: give Berth the capability CAP_NET_BIND_SERVICE", at).Because(err)
	}
	return fmt.Errorf("the gateway listens on %s: %w", at, err)
}
