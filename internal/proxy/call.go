package proxy

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"berth/internal/access"
	"berth/internal/proxy/policy"
)

// abortGrace is how long a client whose request is being ended has to take what is still in flight to it.
const abortGrace = 2 * time.Second

// call is one request on its way through.
type call struct {
	proxy     *Proxy
	cancel    context.CancelCauseFunc // of what is forwarded; set for good
	in        *http.Request
	w         *recorder
	request   policy.Request   // complete once its place is known
	entry     *entry           // nil before the token has been accepted
	principal access.Principal // anonymous before that
	grant     *grant           // of the token; nil as long as entry
	verdict   policy.Verdict

	body      *clientBody
	header    headerTimer // for the header of the answer
	slot      slot        // of the session's server
	forwarded bool        // the server is asked, so that bytes which flow are activity of the session
	closes    bool        // the answer is to end the client's connection
	conn      *upstreamConn
	tunnel    *tunnel // nil unless the server has switched protocols
	finished  bool    // neither cut off nor aborted

	mu       sync.Mutex // stop may run while the handler does, and while it returns
	stream   bool       // an event stream or a WebSocket; written by the handler alone
	cause    error      // why stop was called
	cut      bool       // abort has been called
	released bool       // the connection is about to be another request's
}

// newCall returns with the call the context of what it forwards, which ends with the request's or when the call is stopped.
func newCall(p *Proxy, w http.ResponseWriter, r *http.Request) (context.Context, *call) {
	client := clientOf(r)
	c := &call{proxy: p, in: r, request: policy.Request{
		ID: p.requestID(r), Method: r.Method, Target: policy.TargetOf(r.URL),
		Host: r.Host, Header: policy.Header(r.Header), Length: r.ContentLength, HTTP11: r.ProtoAtLeast(1, 1),
		Client: client.AddrPort.Addr(), Scheme: client.Scheme,
	}}
	r.Header.Set(policy.RequestIDHeader, c.request.ID) // writers of problems look for it there
	w.Header().Set(policy.RequestIDHeader, c.request.ID)
	c.closes = w.Header().Get("Connection") == "close"
	c.w = &recorder{ResponseWriter: w, call: c}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), callKey{}, c))
	c.cancel = cancel
	return ctx, c
}

// clientOf returns who sent a request: the client that package server has put into the context, else the connection's peer.
func clientOf(r *http.Request) *access.Client {
	if c := access.ClientOf(r.Context()); c.Scheme != "" {
		return c
	}
	return access.Proxies(nil).Client(r.RemoteAddr, r.TLS != nil, nil, nil, false)
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// redirectToRoot sends a client that left out the slash after the session's id to where it belongs.
func (c *call) redirectToRoot() {
	u := url.URL{Path: c.request.Place.Prefix + "/", RawQuery: policy.WithoutToken(c.request.Target.Query)}
	http.Redirect(c.w, c.in, u.String(), http.StatusPermanentRedirect)
}

// received is how many bytes of content came from the client.
func (c *call) received() int64 {
	if c.body == nil {
		return c.w.received.Load()
	}
	return c.body.size()
}

// active is called when bytes flow, which counts as use of the session once it was asked.
func (c *call) active() {
	if c.forwarded && c.entry.use.touchDue(time.Now()) {
		c.proxy.touch(c.request.Place.Session)
	}
}

// becomeStream marks the call as a stream.
func (c *call) becomeStream() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = true
}

// stop ends the call, whatever it waits for. The first cause is kept.
func (c *call) stop(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopLocked(cause)
}

// stopStream ends the call if it is a stream.
func (c *call) stopStream(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream {
		c.stopLocked(cause)
	}
}

func (c *call) stopLocked(cause error) {
	if c.released {
		return
	}
	if c.cause == nil {
		c.cause = cause
	}
	c.cancel(cause)
	c.abortLocked()
}

// stopped returns why the call was ended, nil if it was not.
func (c *call) stopped() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// abort unblocks what cancelling a context does not: a handler that waits for a client which neither reads nor writes.
func (c *call) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abortLocked()
}

func (c *call) abortLocked() {
	if c.released {
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
	if c.bodyUnread() {
		_ = rc.SetReadDeadline(time.Now())
	}
}

// wasCut reports whether abort has been called.
func (c *call) wasCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

// end is called before the handler returns: abort does nothing from now on, and the deadline that it has set is removed.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released = true
	if c.cut && !c.w.hijacked {
		_ = http.NewResponseController(c.w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}
