package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// clientTimeout is how long a client may leave sent bytes unacknowledged, leave keepalive probes unanswered, or keep its
	// receive window closed, before its connection is closed. A client that vanished sends no FIN; without this its stream
	// would be held for as long as the kernel retransmits, which is a quarter of an hour.
	clientTimeout = time.Minute
	// probeEvery is how often an idle connection is probed.
	probeEvery = 15 * time.Second
)

// clientListener accepts connections of clients, bounds their number, and closes those of clients that have vanished or do not
// read.
type clientListener struct {
	net.Listener
	most        int
	timeout     time.Duration // see clientTimeout
	probe       time.Duration // see probeEvery; whole seconds
	closeOldest func() bool   // closes a connection that has no request with a valid token; false: there is none
	open        *atomic.Int64 // connections; of all listeners of a server together
	headers     *headerLimit  // also of all listeners together
}

// Accept returns the next connection. At the limit it closes one that has no request with a valid token; if there is none, it
// closes the new one.
func (l *clientListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Load() >= int64(l.most) && !l.closeOldest() {
			_ = conn.Close()
			continue
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok { // a Unix socket of systemd: a client on this machine cannot vanish without the kernel's notice
			return conn, nil
		}
		l.watch(tcp)
		l.open.Add(1)
		return &clientConn{TCPConn: tcp, stall: l.timeout / 2, closed: sync.OnceFunc(func() { l.open.Add(-1) }), header: receiving{limit: l.headers}}, nil
	}
}

// watch has the kernel close the connection of a client that does not answer. Where the kernel lacks an option, the deadlines
// of clientConn replace it.
func (l *clientListener) watch(conn *net.TCPConn) {
	_ = conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: l.probe, Interval: l.probe, Count: int(max(l.timeout/l.probe-1, 1))})
	control(conn, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(l.timeout.Milliseconds()))
	})
}

func control(conn *net.TCPConn, f func(fd int) error) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = f(int(fd)) })
	}
}

// clientConn fails a write once the client has taken nothing for stall, twice in a row. TCP_USER_TIMEOUT alone does that
// only since Linux 5.11 for a live client that does not read.
type clientConn struct {
	*net.TCPConn
	stall  time.Duration
	closed func()
	header receiving

	mu       sync.Mutex
	explicit bool // SetWriteDeadline or SetDeadline has set a deadline, which takes precedence
	armed    time.Time
}

// Read fails when too many connections receive large headers.
func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 && !c.header.add(n) {
		return 0, errLargeHeaders
	}
	return n, err
}

// Write writes all of p, however long it takes, as long as the client takes some of it.
func (c *clientConn) Write(p []byte) (n int, err error) {
	queued := -1
	for {
		c.arm()
		var m int
		m, err = c.TCPConn.Write(p[n:])
		n += m
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.isExplicit() {
			return n, err
		}
		// The socket accepts bytes in large steps; the size of its send queue shows whether the client has read some.
		now := c.queued()
		if m == 0 && queued >= 0 && now >= queued {
			return n, err
		}
		queued = now
		c.disarm()
	}
}

// ReadFrom copies through Write: the embedded connection's ReadFrom would write without a deadline.
func (c *clientConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

func (c *clientConn) queued() int {
	n := 0
	control(c.TCPConn, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ)
		return err
	})
	return n
}

// arm sets the deadline, unless it was set recently.
func (c *clientConn) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !c.explicit && now.Sub(c.armed) > c.stall/4 {
		c.armed = now
		_ = c.TCPConn.SetWriteDeadline(now.Add(c.stall))
	}
}

func (c *clientConn) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = time.Time{}
}

func (c *clientConn) isExplicit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.explicit
}

// SetWriteDeadline replaces the connection's own deadline until it is set to zero.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.explicit, c.armed = !t.IsZero(), time.Time{}
	return c.TCPConn.SetWriteDeadline(t)
}

// SetDeadline sets both.
func (c *clientConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close ends the connection.
func (c *clientConn) Close() error {
	c.closed()
	c.header.end()
	return c.TCPConn.Close()
}
