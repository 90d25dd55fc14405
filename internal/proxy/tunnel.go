package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"berth/internal/session"
)

// halfOpenTimeout is how long a WebSocket of which one side has closed its half may be silent. What the other side still
// has to send arrives; a side that has nothing to send and does not close must not hold both connections for ever.
const halfOpenTimeout = time.Minute

// errUnexpectedUpgrade answers a request whose server switched to a protocol that was not asked for.
var errUnexpectedUpgrade = session.Errorf(session.CodeUpstream, "the session's server switched to a protocol that was not asked for")

// wantsWebSocket reports whether a request is the opening handshake of a WebSocket. An upgrade to anything else is not
// passed on: through another protocol, such as h2c, requests would come that nobody has checked. Nor is one with a
// content, of which the rest would follow into the tunnel.
func wantsWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], webSocket) && namesUpgrade(r.Header) &&
		r.Method == http.MethodGet && r.ContentLength == 0 && r.ProtoAtLeast(1, 1)
}

const webSocket = "websocket"

func namesUpgrade(h http.Header) bool {
	for _, value := range h["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(token, " \t"), "Upgrade") {
				return true
			}
		}
	}
	return false
}

// switchProtocols checks a 101 response and prepares what follows it. After an error the response's body is closed, and
// with it the connection.
func (c *call) switchProtocols(res *http.Response) error {
	upgrade := res.Header["Upgrade"]
	if !c.webSocket || len(upgrade) != 1 || !strings.EqualFold(upgrade[0], webSocket) || !res.ProtoAtLeast(1, 1) {
		return errUnexpectedUpgrade
	}
	server, ok := res.Body.(io.ReadWriteCloser)
	if !ok { // no Connection: Upgrade beside it
		return errUnexpectedUpgrade
	}
	dropNamed(res.Header, res.Header["Connection"])
	for _, name := range []string{"Keep-Alive", "Trailer", "Transfer-Encoding", "Content-Length"} {
		delete(res.Header, name)
	}
	res.Header["Connection"], res.Header["Upgrade"] = []string{"Upgrade"}, []string{webSocket}
	// ReverseProxy writes the status line as it came. Its text may have a bare CR in it, after which some clients read a header.
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

// tunnel is the server's end of a WebSocket, through which all bytes of both directions pass.
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

// CloseWrite passes on that the client has nothing more to send.
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

// moved notes that bytes have passed, or that one side has closed its half.
func (t *tunnel) moved(half bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.halfOpen = t.halfOpen || half
	if t.halfOpen && !t.closed {
		t.timer.Reset(halfOpenTimeout)
	}
}
