package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"berth/internal/proxy/policy"
)

// halfOpenTimeout is how long a WebSocket may be silent after one side has closed its half. Data of the other side still
// arrives; a side that sends nothing and does not close must not hold both connections for ever.
const halfOpenTimeout = time.Minute

// switchProtocols prepares the tunnel after a 101 response. After an error the response's body is closed, and with it the
// connection.
func (c *call) switchProtocols(res *http.Response) error {
	server, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		return policy.ErrUpgrade
	}
	// ReverseProxy writes the server's status line. Its text may contain a bare CR, after which some clients parse a header.
	res.Status, res.Close = "101 "+http.StatusText(http.StatusSwitchingProtocols), false
	res.Proto, res.ProtoMajor, res.ProtoMinor = "HTTP/1.1", 1, 1
	t := &tunnel{ReadWriteCloser: server}
	t.timer = time.AfterFunc(halfOpenTimeout, func() {
		c.abort()
		_ = t.Close()
	})
	t.timer.Stop()
	c.tunnel, res.Body = t, t
	return nil
}

// closeTunnel closes the server's end of a WebSocket, if there is one.
func (c *call) closeTunnel() {
	if c.tunnel != nil {
		_ = c.tunnel.Close()
	}
}

// tunnel is the server's end of a WebSocket, which carries the bytes of both directions.
type tunnel struct {
	io.ReadWriteCloser

	mu       sync.Mutex
	timer    *time.Timer
	halfOpen bool
	closed   bool
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	t.moved(errors.Is(err, io.EOF))
	return n, err
}

func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Write(p)
	t.moved(false)
	return n, err
}

// CloseWrite closes the write half towards the server after the client has closed its half.
func (t *tunnel) CloseWrite() error {
	t.moved(true)
	if half, ok := t.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	return t.Close()
}

func (t *tunnel) Close() error {
	t.mu.Lock()
	t.closed = true
	t.timer.Stop()
	t.mu.Unlock()
	return t.ReadWriteCloser.Close()
}

// moved records that bytes were transferred, or that one side has closed its half.
func (t *tunnel) moved(half bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.halfOpen = t.halfOpen || half
	if t.halfOpen && !t.closed {
		t.timer.Reset(halfOpenTimeout)
	}
}
