// Package proxy is the data plane: it takes a request under /s/{id}/, checks the session's token, and sends it to the
// session's server with that server's own credential. It streams both ways and buffers nothing but a few kilobytes.
//
// It knows routes, which it holds in memory, and HTTP. It does not know the store, the runtime, the JSON API or what
// the servers behind it do; what is particular to a server comes with the route's profile.
package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// Prefix is where the path route begins: /s/{id}/….
const Prefix = "/s/"

// route is what logs call every proxied request: never the path itself, which belongs to the user.
const route = "/s/{id}/"

// DefaultMaxBody is the limit of a request body in bytes unless [Options] says otherwise: 16 MiB. OpenCode has none of
// its own, and a body of 60 MB was enough to have it killed in a container of 1 GiB.
const DefaultMaxBody = 16 << 20

// allowedMethods is what Allow says where a method is refused; others than these are passed on as well.
const allowedMethods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

// notRunningRetry is what Retry-After says for a session that is not running: about as long as a server takes to start.
const notRunningRetry = 5 * time.Second

// Options is what a [Proxy] is made of. Table, Access and Logger are required.
type Options struct {
	Table  *Table
	Access *access.Authority
	Logger *slog.Logger

	MaxBody   int64     // bytes of a request body; 0: [DefaultMaxBody]
	Transport Transport // connections to the sessions' servers; zero fields mean defaults

	// MaxConnections bounds the connections to all sessions' servers together, and MaxRequests the requests of all
	// sessions, streams included; 0: only those of each session are bounded. No session gets more of what is left than
	// it leaves to others.
	MaxConnections, MaxRequests int

	// Touch is called when a request begins, and while bytes flow at most once a second per session. It must be
	// cheap and must not block. nil: nobody wants to know.
	Touch func(session.ID)

	// Wake brings up a session whose route says that it wakes, and returns when it can be used, or ctx has ended. nil:
	// nothing wakes.
	Wake func(ctx context.Context, id session.ID) error
	// WakeTimeout is how long a request waits for that; default 30 s.
	WakeTimeout time.Duration

	// DialFailed is told when a session's server could not be connected to. It must not block. nil: nobody wants to know.
	DialFailed func()

	// Observe is told of every request when it is over. It must not block. nil: nobody wants to know.
	Observe func(Observation)

	// MayLog reports whether a failure of a session's server may be logged above DEBUG: a user and their server can cause as
	// many as they like. It must be cheap and must not block. nil: all may.
	MayLog func(session.ID) bool

	// WriteProblem answers a request with err, whose code decides the status. It must not log: the proxy has. The
	// headers WWW-Authenticate, Retry-After and X-Request-ID are already set. nil: a plain RFC 9457 document.
	WriteProblem func(http.ResponseWriter, *http.Request, error)

	// RequestID names a request in logs, upstream and to the client. nil: 26 random characters.
	RequestID func(*http.Request) string

	// TrustForwardedProto says that a proxy of ours stands in front and sets X-Forwarded-Proto. Without it a browser's
	// origin must have the scheme of the connection itself.
	TrustForwardedProto bool
}

func (o Options) validate() error {
	var faults []error
	if o.Table == nil {
		faults = append(faults, errors.New("table is missing"))
	}
	if o.Access == nil {
		faults = append(faults, errors.New("access is missing"))
	}
	if o.Logger == nil {
		faults = append(faults, errors.New("logger is missing"))
	}
	if o.MaxConnections < 0 || o.MaxRequests < 0 {
		faults = append(faults, errors.New("a limit of all sessions together is negative"))
	}
	if o.MaxBody < 0 {
		faults = append(faults, fmt.Errorf("largest body %d is negative", o.MaxBody))
	}
	return errors.Join(append(faults, o.Transport.validate())...)
}

// Proxy serves the sessions of a [Table]. It is safe for concurrent use.
type Proxy struct {
	table        *Table
	access       *access.Authority
	log          *slog.Logger
	maxBody      int64
	transport    Transport
	touch        func(session.ID)
	wake         func(context.Context, session.ID) error
	wakeTimeout  time.Duration
	observe      func(Observation)
	connections  connectionCount
	upstreams    budget // connections to the sessions' servers
	requests     budget // requests of the sessions
	mayLog       func(session.ID) bool
	writeProblem func(http.ResponseWriter, *http.Request, error)
	requestID    func(*http.Request) string
	trustProto   bool

	reverse  *httputil.ReverseProxy
	inFlight *inFlightCounter
	life     context.Context //nolint:containedctx // not a request's: it ends when Drain stops waiting
	end      context.CancelCauseFunc

	streams    context.Context //nolint:containedctx // the same for event streams and WebSockets
	endStreams context.CancelCauseFunc
}

var _ http.Handler = (*Proxy)(nil)

// New checks the options and reports every fault at once. It starts nothing.
func New(o Options) (*Proxy, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("make the proxy: %w", err)
	}
	p := &Proxy{
		table:        o.Table,
		access:       o.Access,
		log:          o.Logger,
		maxBody:      cmp.Or(o.MaxBody, DefaultMaxBody),
		transport:    o.Transport.withDefaults(),
		touch:        o.Touch,
		wake:         o.Wake,
		wakeTimeout:  cmp.Or(o.WakeTimeout, defaultWakeTimeout),
		observe:      o.Observe,
		mayLog:       o.MayLog,
		writeProblem: o.WriteProblem,
		requestID:    o.RequestID,
		trustProto:   o.TrustForwardedProto,
		inFlight:     newInFlightCounter(),
		upstreams:    budget{total: o.MaxConnections},
		requests:     budget{total: o.MaxRequests},
	}
	p.transport.Dial = p.connections.tracked(p.transport.Dial, o.DialFailed)
	if p.touch == nil {
		p.touch = func(session.ID) {}
	}
	if p.observe == nil {
		p.observe = func(Observation) {}
	}
	if p.mayLog == nil {
		p.mayLog = func(session.ID) bool { return true }
	}
	if p.writeProblem == nil {
		p.writeProblem = writeProblem
	}
	if p.requestID == nil {
		p.requestID = func(*http.Request) string { return rand.Text() }
	}
	p.life, p.end = context.WithCancelCause(context.Background())
	p.streams, p.endStreams = context.WithCancelCause(p.life)
	p.reverse = p.newReverse()
	return p, nil
}

// Before sends what is under /s/ to the proxy and the rest to next. A [http.ServeMux] cannot do this: it redirects
// paths with // or dot segments, which the sessions' servers are to get as they came.
func (p *Proxy) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := splitPath(rawPath(r.URL)); ok {
			p.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers one request under /s/{id}/ and returns when its last byte, or that of the WebSocket it became, has
// been sent. It panics with [http.ErrAbortHandler] where a response must not look complete.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(w, r, p.requestID(r))
	started := time.Now()
	defer func() {
		p.observe(Observation{
			Status: c.w.status, Duration: time.Since(started), Received: c.received(), Sent: c.w.bytes.Load(), Stream: c.stream,
		})
		p.logAccess(c, started)
	}()

	if !p.inFlight.add() {
		p.fail(c, errShuttingDown)
		c.finished = true
		return
	}
	defer func() { p.inFlight.done(c.stream) }()
	if err := p.serve(c); err != nil {
		p.fail(c, err)
	}
	c.finished = true
}

// serve checks the request in the order that gives least away: the form of the id, the token, the session's state,
// and only then the request itself.
func (p *Proxy) serve(c *call) error {
	if strings.EqualFold(c.in.Method, http.MethodConnect) || strings.EqualFold(c.in.Method, http.MethodTrace) {
		// A tunnel to wherever the client says, and a request sent back with the credential that we added.
		c.w.Header().Set("Allow", allowedMethods)
		return session.Errorf(session.CodeMethod, "sessions cannot be asked with %s", c.in.Method)
	}
	idText, rest, ok := splitPath(rawPath(c.in.URL))
	if !ok {
		return session.Errorf(session.CodeNotFound, "there is nothing here; sessions are at /s/{id}/")
	}
	id, err := session.ParseID(idText)
	if err != nil {
		return err
	}
	if rest == "" {
		c.redirectToRoot(id)
		return nil
	}
	c.id, c.rest = id, rest

	if err := p.authenticate(c); err != nil {
		return err
	}
	inFlight := c.entry.held
	if !p.requests.take(inFlight, p.transport.maxRequests()) {
		return errRequests
	}
	defer p.requests.give(inFlight)
	if c.entry.upstream == nil {
		if answered, err := p.wakeSession(c); err != nil || answered {
			return err
		}
	}
	if err := p.checkOrigin(c.in); err != nil {
		return err
	}
	if anyMatches(c.entry.blocked, c.in.Method, rest) {
		return session.Errorf(session.CodeForbidden,
			"this call is not allowed through Berth: the session's image is managed by the operator")
	}
	if c.in.ContentLength > p.maxBody {
		return p.tooLarge()
	}
	return p.forward(c)
}

// InFlight returns how many requests are being served, streams included.
func (p *Proxy) InFlight() int { return p.inFlight.count() }

// Drain waits for the requests in flight, and then ends what never ends by itself: event streams and WebSockets. Who comes
// meanwhile is served: a request on a connection that was open already cannot know. When quiet is closed nobody can come
// any more; nil: nobody can. When ctx ends first it ends the rest as well and says how many requests that cut off.
func (p *Proxy) Drain(ctx context.Context, quiet <-chan struct{}) error {
	p.inFlight.drain(ctx)
	p.endStreams(errShuttingDown)
	if quiet != nil {
		select {
		case <-quiet:
		case <-ctx.Done():
		}
	}
	cut := p.inFlight.drain(ctx)
	p.inFlight.close()
	p.end(errShuttingDown)

	// Handlers return as soon as they notice; the longest are those whose client does not read.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*abortGrace)
	defer cancel()
	stuck := p.inFlight.empty(last)
	switch {
	case stuck > 0:
		return fmt.Errorf("drain: %d requests did not end when they were told to", stuck)
	case cut > 0:
		return fmt.Errorf("drain: %d requests were cut off: %w", cut, context.Cause(ctx))
	}
	return nil
}

func (p *Proxy) logAccess(c *call, started time.Time) {
	ctx := c.in.Context()
	if !p.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	p.log.DebugContext(ctx, "request proxied",
		"operation", "proxy",
		"method", c.in.Method,
		"route", route,
		"session_id", string(c.id),
		"request_id", c.requestID,
		"status", c.w.status,
		"duration_ms", float64(time.Since(started).Microseconds())/1000,
		"bytes", c.w.bytes.Load(),
		"complete", c.finished)
}
