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

// upstreamConn is a connection that is closed with its upstream. It records the start of a response, because http.Transport
// hides part of it: from a response with "Connection: close" it removes the whole Connection header, and so the names of other
// hop-by-hop fields.
type upstreamConn struct {
	net.Conn
	release func() // may be called again

	mu            sync.Mutex
	recording     bool
	recordedBytes []byte // since record, at most [maxRecorded]
}

// maxRecorded is enough for the header of any response that the transport accepts, with some interim ones before it.
const maxRecorded = maxHeaderBytes + 16<<10

func (c *upstreamConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// CloseWrite closes the write half after a WebSocket's client has closed its half.
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

// record starts to record what is read. It is called before a request is written.
func (c *upstreamConn) record() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording, c.recordedBytes = true, c.recordedBytes[:0]
}

// recorded ends the recording. The returned bytes are valid until the connection is used for another request.
func (c *upstreamConn) recorded() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording = false
	return c.recordedBytes
}

// connectionHeader returns the Connection header of the final response in the server's bytes. It reports false if they end
// before that response's header does.
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
