package gateway

import (
	"net"
	"net/netip"
	"sync"
)

// maxPerAddress bounds the connections of one container to one listener; it closes those beyond. A session's server has a few for its
// models, and programs in it one for each host that they ask by way of the proxy.
const maxPerAddress = 256

// boundedListener closes connections of an address that has too many, so that no container can take all of a listener's.
type boundedListener struct {
	net.Listener
	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept returns the next connection of an address that may have another one.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(conn)
		if !l.add(from) {
			_ = conn.Close()
			continue
		}
		return &boundedConn{Conn: conn, closed: sync.OnceFunc(func() { l.remove(from) })}, nil
	}
}

func addressOf(conn net.Conn) netip.Addr {
	if from, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return from.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (l *boundedListener) add(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= maxPerAddress {
		return false
	}
	l.open[from]++
	return true
}

func (l *boundedListener) remove(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] <= 0 {
		delete(l.open, from)
	}
}

// boundedConn is counted until it is closed.
type boundedConn struct {
	net.Conn
	closed func()
}

// Close closes the connection.
func (c *boundedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// CloseWrite ends what is sent; the other side may go on.
func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
