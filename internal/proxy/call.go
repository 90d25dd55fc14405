package proxy

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

const requestIDHeader = "X-Request-Id"

// abortGrace is how long a client whose request is being ended has to take what is still in flight to it.
const abortGrace = 2 * time.Second

// call is one request on its way through.
type call struct {
	in        *http.Request
	w         *recorder
	requestID string
	id        session.ID       // "" until it was found well formed
	rest      string           // raw path after the prefix, begins with a slash
	entry     *entry           // nil until the token was found right
	principal access.Principal // anonymous until then
	grant     *grant           // what let the call in; nil as long as entry
	body      *clientBody
	header    headerTimer   // for the header of the answer
	stream    bool          // an event stream or a WebSocket
	webSocket bool          // the request asks for one
	closes    bool          // the client is to be told that its connection ends
	conn      *upstreamConn // the last that the request got; nil before
	tunnel    *tunnel       // nil unless the server has switched protocols
	finished  bool          // neither cut off nor aborted
	giveBack  func()

	endWith      func(above context.Context) (forget func() bool) // ends it when above ends
	leaveStreams func() bool                                      // it ends with the streams no more

	mu   sync.Mutex // abort may run while the handler returns
	cut  bool       // abort has been called
	over bool       // the connection is about to be another request's
}

func newCall(w http.ResponseWriter, r *http.Request, requestID string) *call {
	c := &call{in: r, requestID: requestID, leaveStreams: func() bool { return true }}
	r.Header.Set(requestIDHeader, requestID) // writers of problems look for it there
	w.Header().Set(requestIDHeader, requestID)
	c.closes = w.Header().Get("Connection") == "close"
	c.w = &recorder{ResponseWriter: w, call: c}
	return c
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

func (c *call) redirectToRoot(id session.ID) {
	u := url.URL{Path: Prefix + string(id) + "/", RawQuery: withoutToken(c.in.URL.RawQuery)}
	http.Redirect(c.w, c.in, u.String(), http.StatusPermanentRedirect)
}

// prefix is where the session's paths begin for the client, without the last slash.
func (c *call) prefix() string { return Prefix + string(c.id) }

// takeBody wraps the request's body, if it has one, and limits what does not say its size beforehand.
func (c *call) takeBody(limit int64) {
	body := c.in.Body
	if body == nil || body == http.NoBody {
		return
	}
	if c.in.ContentLength < 0 {
		body = http.MaxBytesReader(c.w.ResponseWriter, body, limit)
	}
	c.body = &clientBody{ReadCloser: body}
}

// received is how many bytes of content came from the client.
func (c *call) received() int64 {
	if c.body == nil {
		return c.w.heard.Load()
	}
	return c.body.size()
}

// abort unblocks what cancelling a context does not: a handler that waits for a client which neither reads nor writes.
func (c *call) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.cut = true
	if c.w.client != nil {
		// A tunnel of which the server has closed its half waits for the client alone.
		_ = c.w.client.SetReadDeadline(time.Now())
	}
	// An unsupported deadline is one that nothing waits for.
	rc := http.NewResponseController(c.w.ResponseWriter)
	_ = rc.SetWriteDeadline(time.Now().Add(abortGrace))
	if c.body != nil && !c.body.complete() {
		_ = rc.SetReadDeadline(time.Now())
	}
}

// wasCut reports whether abort has been called.
func (c *call) wasCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

// end says that the handler is about to return: abort does nothing from now on, and what it did is undone.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cut && !c.w.hijacked {
		_ = http.NewResponseController(c.w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}

// recorder notes what was answered, and keeps the session awake while bytes flow.
type recorder struct {
	http.ResponseWriter
	call     *call
	status   int // 0 until the header was written
	bytes    atomic.Int64
	heard    atomic.Int64 // bytes that came through a hijacked connection
	hijacked bool
	client   net.Conn // once hijacked; call.mu guards it
	active   func()   // called when bytes flow; nil before a server was asked
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
		w.Header().Set(requestIDHeader, w.call.requestID)
		if w.call.closes {
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
	if w.active != nil && n > 0 {
		w.active()
	}
}

// Hijack hands out the client's connection, in front of it what the server had already read.
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
	early *bufio.Reader // read first as long as there is something in it
	w     *recorder
}

func (c *clientConn) Read(p []byte) (int, error) {
	if n := c.early.Buffered(); n > 0 {
		n, err := c.early.Read(p[:min(n, len(p))])
		c.w.heard.Add(int64(n))
		return n, err
	}
	n, err := c.Conn.Read(p)
	c.w.heard.Add(int64(n))
	if c.w.active != nil && n > 0 {
		c.w.active()
	}
	return n, err
}

func (c *clientConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.w.flowed(n)
	return n, err
}

// CloseWrite passes on that the server has nothing more to say.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
