package proxy

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
)

// upstreamConn is a connection that ends with its upstream. It keeps the beginning of what the server answers to a
// request, because http.Transport does not tell all of it: where the Connection header of a response has "close" in it,
// the whole header is removed, and with it the names of the other fields that concern this connection alone.
type upstreamConn struct {
	net.Conn
	release func() // may be called again

	mu            sync.Mutex
	recording     bool
	recordedBytes []byte // since record, at most [maxHeard]
}

// maxRecorded is enough for the header of any response that the transport accepts, with some interim ones before it.
const maxRecorded = maxHeaderBytes + 16<<10

func (c *upstreamConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// CloseWrite passes on that a WebSocket's client has nothing more to send.
func (c *upstreamConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

func (c *upstreamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recording {
		c.recordedBytes = append(c.recordedBytes, p[:min(n, maxRecorded-len(c.recordedBytes))]...)
	}
	return n, err
}

// record keeps what is read from now on. It is called before a request is written.
func (c *upstreamConn) record() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording, c.recordedBytes = true, c.recordedBytes[:0]
}

// recorded ends the recording. What it returns is valid until the connection is used for another request.
func (c *upstreamConn) recorded() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording = false
	return c.recordedBytes
}

// connectionHeader returns the Connection header of the final response in the text that came from the server. It reports
// false when the text ends before that response's header does.
func connectionHeader(text []byte) ([]string, bool) {
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		line, err := r.ReadLine()
		if err != nil {
			return nil, false
		}
		h, err := r.ReadMIMEHeader()
		if err != nil {
			return nil, false
		}
		if _, status, _ := strings.Cut(line, " "); !strings.HasPrefix(strings.TrimLeft(status, " "), "1") {
			return h["Connection"], true
		}
	}
}
