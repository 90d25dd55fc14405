// Package pipenet is a network in memory, for tests: listeners, and connections to them that are pairs of net.Pipe.
//
// A goroutine that waits on such a connection waits durably in the sense of testing/synctest, which none on a socket does,
// so that a test may run clients and servers in a bubble. The package refuses to know what is sent.
package pipenet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// Network holds listeners by their addresses. It is safe for concurrent use. The zero value has no listeners.
type Network struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	lastPort  uint16
}

// firstPort is the first of those that Listen chooses from.
const firstPort = 20000

// Listen listens at an address and a port; port 0 stands for a free one.
func (n *Network) Listen(address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.Port() == 0 {
		n.lastPort = max(n.lastPort+1, firstPort)
		at = netip.AddrPortFrom(at.Addr(), n.lastPort)
	}
	if n.listeners[at] != nil {
		return nil, failure("listen", at, syscall.EADDRINUSE)
	}
	if n.listeners == nil {
		n.listeners = map[netip.AddrPort]*listener{}
	}
	l := &listener{network: n, at: at, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[at] = l
	return l, nil
}

// Dial connects to a listener. Without one the connection is refused. Its second argument, the name of a network, is not
// looked at: it makes Dial a net.Dialer's DialContext.
func (n *Network) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	n.mu.Lock()
	l := n.listeners[at]
	n.mu.Unlock()
	if l == nil {
		return nil, failure("dial", at, syscall.ECONNREFUSED)
	}
	client, server := net.Pipe()
	err = l.offer(ctx, server)
	if err != nil {
		return nil, errors.Join(failure("dial", at, err), client.Close(), server.Close())
	}
	return client, nil
}

func failure(op string, at netip.AddrPort, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: err}
}

type listener struct {
	network *Network
	at      netip.AddrPort
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// offer waits until the connection is accepted.
func (l *listener) offer(ctx context.Context, conn net.Conn) error {
	select {
	case l.conns <- conn:
		return nil
	case <-l.closed:
		return syscall.ECONNREFUSED
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, failure("accept", l.at, net.ErrClosed)
	}
}

// Close implements net.Listener. Connections that were accepted go on.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		delete(l.network.listeners, l.at)
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }
