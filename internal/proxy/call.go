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

// abortGrace is the time that a client has to read what is in flight when its request is ended.
const abortGrace = 2 * time.Second

// call is one request in progress.
type call struct {
	proxy     *Proxy
	cancel    context.CancelCauseFunc // of the forwarded request; set once
	in        *http.Request
	w         *recorder
	request   policy.Request   // complete once its place was found
	entry     *entry           // nil until the token was accepted
	principal access.Principal // anonymous until then
	grant     *grant           // of the token; nil while entry is
	verdict   policy.Verdict

	body      *clientBody
	header    headerTimer // for the header of the answer
	slot      slot        // of the session's server
	forwarded bool        // the request was sent to the server, so that its traffic is activity of the session
	closes    bool        // the response closes the client's connection
	conn      *upstreamConn
	tunnel    *tunnel // nil unless the server has switched protocols
	finished  bool    // completed without abort

	mu       sync.Mutex // stop may run while the handler does, and while it returns
	stream   bool       // an event stream or a WebSocket; written by the handler alone
	cause    error      // why stop was called
	cut      bool       // abort has been called
	released bool       // the handler returns, so that the connection may serve another request
}

// newCall returns the call and the context of its forwarded request, which ends with the request's or when the call is stopped.
func newCall(p *Proxy, w http.ResponseWriter, r *http.Request) (context.Context, *call) {
	client := clientOf(r)
	c := &call{proxy: p, in: r, request: policy.Request{
		ID: p.requestID(r), Method: r.Method, Target: policy.TargetOf(r.URL),
		Host: r.Host, Header: policy.Header(r.Header), Length: r.ContentLength, HTTP11: r.ProtoAtLeast(1, 1),
		Client: client.AddrPort.Addr(), Scheme: client.Scheme,
	}}
	r.Header.Set(policy.RequestIDHeader, c.request.ID) // problem writers read it from there
	w.Header().Set(policy.RequestIDHeader, c.request.ID)
	c.closes = w.Header().Get("Connection") == "close"
	c.w = &recorder{ResponseWriter: w, call: c}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), callKey{}, c))
	c.cancel = cancel
	return ctx, c
}

// clientOf returns the client of a request: the one that package server has put into the context, else the connection's peer.
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

// ownsConnection reports whether the request is the only one on its connection. Over HTTP/2 it is one of several.
func (c *call) ownsConnection() bool { return c.in.ProtoMajor < 2 }

// redirectToRoot redirects a client that left out the slash after the session's ID.
func (c *call) redirectToRoot() {
	u := url.URL{Path: c.request.Place.Prefix + "/", RawQuery: policy.WithoutToken(c.request.Target.Query)}
	http.Redirect(c.w, c.in, u.String(), http.StatusPermanentRedirect)
}

// received returns the number of content bytes from the client.
func (c *call) received() int64 {
	if c.body == nil {
		return c.w.received.Load()
	}
	return c.body.size()
}

// active is called when bytes are transferred, which counts as activity of the session once the request was forwarded.
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

// stop ends the call in any state. The first cause is kept.
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

// abort unblocks a handler that waits for a client which neither reads nor writes: cancelling a context does not.
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
		// A tunnel whose server has closed its half waits only for the client.
		_ = c.w.client.SetReadDeadline(time.Now())
	}
	// Where a deadline is not supported, nothing waits for the client.
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

// end is called before the handler returns: from then on abort does nothing, and the deadline that it has set is removed.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released = true
	if c.cut && !c.w.hijacked {
		_ = http.NewResponseController(c.w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}
