package proxy

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"

	"berth/internal/proxy/policy"
)

// recorder records the response's status and size, and reports transferred bytes as activity of the session.
type recorder struct {
	http.ResponseWriter
	call     *call
	status   int // 0 until the header is written
	bytes    atomic.Int64
	received atomic.Int64 // bytes that came through a hijacked connection
	hijacked bool
	client   net.Conn // once hijacked; call.mu guards it
}

// Unwrap is for [http.ResponseController].
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.Header().Del("Connection")
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status == 0 {
		w.status = status
		// Again, because ReverseProxy clears all headers after an interim response.
		w.Header().Set(policy.RequestIDHeader, w.call.request.ID)
		w.call.request.Place.Protect(policy.Header(w.Header()))
		w.call.proxy.rules.Share(&w.call.request, policy.Header(w.Header()))
		// net/http would read the rest of the body before it sends the response, and so take it from the transport, which is
		// still sending it to the session's server. It does not read the body if the connection is closed after the response.
		// Over HTTP/2 nothing of this is so, and it would end the connection of all its streams.
		if w.call.closes || w.call.bodyUnread() && w.call.ownsConnection() {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.flowed(n)
	return n, err
}

func (w *recorder) flowed(n int) {
	w.bytes.Add(int64(n))
	if n > 0 {
		w.call.active()
	}
}

// Hijack returns the client's connection. Its first bytes are those that the server has read already.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.hijacked, w.status = true, http.StatusSwitchingProtocols
	w.call.mu.Lock()
	w.client = conn
	w.call.mu.Unlock()
	return &clientConn{Conn: conn, early: buffered.Reader, w: w}, buffered, nil
}

// clientConn is the client's side of a WebSocket.
type clientConn struct {
	net.Conn
	early *bufio.Reader // read before the connection until it is empty
	w     *recorder
}

func (c *clientConn) Read(p []byte) (int, error) {
	if n := c.early.Buffered(); n > 0 {
		n, err := c.early.Read(p[:min(n, len(p))])
		c.w.received.Add(int64(n))
		return n, err
	}
	n, err := c.Conn.Read(p)
	c.w.received.Add(int64(n))
	if n > 0 {
		c.w.call.active()
	}
	return n, err
}

func (c *clientConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.w.flowed(n)
	return n, err
}

// CloseWrite closes the write half towards the client after the server has closed its half.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
