// Package proxy is the data plane: it takes a request to a session's own origin or under /s/{id}/, checks the session's token, and sends it to the
// session's server with that server's own credential. It streams both ways and buffers nothing but a few kilobytes; package
// [berth/internal/proxy/asset] keeps static files.
//
// It knows routes, which it holds in memory, and how HTTP is carried: connections, bodies, streams, upgrades, and the end of each.
// Package [berth/internal/proxy/policy] decides which requests are forwarded, and how. It does not know the store, the runtime,
// the JSON API or the function of the sessions' servers; the specifics of a server are in the route's profile.
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
	"sync/atomic"
	"time"

	"berth/internal/access"
	"berth/internal/inflight"
	"berth/internal/origin"
	"berth/internal/proxy/asset"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// route is the route in the log lines of every proxied request, at its session's own origin too: never its path, which is the
// user's private data.
const route = "/s/{id}/"

// DefaultMaxBody is the limit of a request body in bytes unless [Options] says otherwise: 16 MiB. OpenCode has none of
// its own, and a body of 60 MB exhausted the memory of a container of 1 GiB.
const DefaultMaxBody = 16 << 20

// Ports knows the ports of sessions.
type Ports interface {
	// At returns the session that has a port, which may have gone; ours is false for a port that is no session's.
	At(port uint16) (id session.ID, ours bool)
}

// Options are the parts and limits of a [Proxy]. Table, Access and Logger are required.
type Options struct {
	Table  *Table
	Access *access.Authority
	Logger *slog.Logger

	Origins   *origin.Set // of the sessions; nil: they are reached by path only
	Ports     Ports       // of the sessions; nil: none has a port of its own
	MaxBody   int64       // bytes of a request body; 0: [DefaultMaxBody]
	Transport Transport   // connections to the sessions' servers; zero fields mean defaults

	// MaxConnections bounds the connections to all sessions' servers together, and MaxRequests the requests of all
	// sessions, streams included; 0: only those of each session are bounded. No session gets more of the rest than
	// it leaves to others.
	MaxConnections, MaxRequests int

	// Touch is called when a request begins, and while bytes flow at most once a second per session. It must be
	// cheap and must not block. nil: not called.
	Touch func(session.ID)

	// Wake starts a session that its route marks as woken by requests, and returns when it is ready, or ctx has ended. nil: no
	// session is woken.
	Wake func(ctx context.Context, id session.ID) error
	// Progress returns how far the start of a session has come. It must be cheap and must not block. nil: only whether the session
	// runs is known.
	Progress func(session.ID) session.Progress
	// WakeTimeout is how long a request waits for the start; default 30 s.
	WakeTimeout time.Duration

	// DialFailed is called when a connection to a session's server failed. It must not block. nil: not called.
	DialFailed func()

	// CrossOrigins are those of clients that are pages of origins of their own. They use sessions with a credential that they send
	// themselves.
	CrossOrigins []string

	// SignIns records sign-ins of browsers, which end after SignInLife. nil: browsers cannot sign in.
	SignIns    SignIns
	SignInLife time.Duration
	// Devices lets programs pair with sessions, for which SignIns is needed.
	Devices bool
	// OpenURL is the page on Berth's own origin where a person opens a session; the session's origin is added as at, and what binds
	// the way back to the browser as binding. Empty: there is none.
	OpenURL string

	// Observe is called for every finished request. It must not block. nil: not called.
	Observe func(Observation)

	// MayLog reports whether a failure of a session's server may be logged above DEBUG: a user and their server can cause any
	// number of failures. It must be cheap and must not block. nil: all are.
	MayLog func(session.ID) bool

	// WriteProblem answers a request with err, whose code decides the status. It must not log: the proxy has. The
	// headers WWW-Authenticate, Retry-After and X-Request-ID are already set. nil: a plain RFC 9457 document.
	WriteProblem func(http.ResponseWriter, *http.Request, error)

	// RequestID names a request in logs, upstream and to the client. nil: 26 random characters.
	RequestID func(*http.Request) string
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
	if o.Devices && o.SignIns == nil {
		faults = append(faults, errors.New("devices pair, and their sign-ins are not recorded"))
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
	origins      *origin.Set
	ports        Ports
	access       *access.Authority
	log          *slog.Logger
	rules        policy.Rules
	transport    Transport
	touch        func(session.ID)
	wake         func(context.Context, session.ID) error
	progress     func(session.ID) session.Progress
	wakeTimeout  time.Duration
	signIns      SignIns
	signInLife   time.Duration
	openURL      string
	observe      func(Observation)
	connections  connectionCount
	upstreams    budget // connections to the sessions' servers
	requests     budget // requests of the sessions
	mayLog       func(session.ID) bool
	writeProblem func(http.ResponseWriter, *http.Request, error)
	requestID    func(*http.Request) string

	assets   *asset.Cache
	reverse  *httputil.ReverseProxy
	inFlight *inflight.Counter
	wakes    context.Context //nolint:containedctx // of starts that no request waits for; it ends when Drain stops waiting
	endWakes context.CancelCauseFunc

	streamsEnded, requestsEnded atomic.Bool // by [Proxy.Drain], which later ones check
}

var _ http.Handler = (*Proxy)(nil)

// New checks the options and reports every fault at once. It starts nothing.
func New(o Options) (*Proxy, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("make the proxy: %w", err)
	}
	p := &Proxy{
		table:        o.Table,
		origins:      o.Origins,
		ports:        o.Ports,
		access:       o.Access,
		log:          o.Logger,
		rules:        policy.Rules{MaxBody: cmp.Or(o.MaxBody, DefaultMaxBody), Wake: o.Wake != nil, CrossOrigins: o.CrossOrigins, Devices: o.Devices},
		transport:    o.Transport.withDefaults(),
		touch:        o.Touch,
		wake:         o.Wake,
		progress:     o.Progress,
		wakeTimeout:  cmp.Or(o.WakeTimeout, defaultWakeTimeout),
		signIns:      o.SignIns,
		signInLife:   o.SignInLife,
		openURL:      o.OpenURL,
		observe:      o.Observe,
		mayLog:       o.MayLog,
		writeProblem: o.WriteProblem,
		requestID:    o.RequestID,
		assets:       asset.NewCache(0),
		inFlight:     inflight.New(),
		upstreams:    budget{total: int64(o.MaxConnections)},
		requests:     budget{total: int64(o.MaxRequests)},
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
	p.wakes, p.endWakes = context.WithCancelCause(context.Background())
	p.reverse = p.newReverse()
	return p, nil
}

// ServeHTTP serves one request under /s/{id}/ and returns when the last byte of its response or WebSocket has been sent. It panics
// with [http.ErrAbortHandler] where a response must not look complete.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.answerCall(w, r, byPath) }

// answerCall serves one request at the place that find finds.
func (p *Proxy) answerCall(w http.ResponseWriter, r *http.Request, find finder) {
	ctx, c := newCall(p, w, r)
	defer c.cancel(nil)
	started := time.Now()
	defer func() {
		p.observe(Observation{
			Status: c.w.status, Duration: time.Since(started), Received: c.received(), Sent: c.w.bytes.Load(), Stream: c.stream,
		})
		p.logAccess(c, started)
	}()

	if !p.inFlight.Begin() {
		p.fail(c, errShuttingDown)
		c.finished = true
		return
	}
	defer func() { p.inFlight.End(c.stream) }()
	if err := p.serve(ctx, c, find); err != nil {
		p.fail(c, err)
	}
	c.finished = true
}

// serve finds the session and the principal of a request, and carries out the policy's verdict.
func (p *Proxy) serve(ctx context.Context, c *call, find finder) (err error) {
	if err := policy.MethodAllowed(c.in.Method); err != nil {
		return err
	}
	if c.request.Place, err = find(c); err != nil {
		return err
	}
	switch {
	case c.request.IsPreflight():
		return p.answerPreflight(c)
	case !c.request.Place.IsOwnOrigin() && c.request.IsNavigation():
		return p.redirectToOrigin(c)
	case c.request.Place.Path == "":
		c.redirectToRoot()
		return nil
	}
	if p.isOwnPage(c) {
		return p.serveOwnPage(c)
	}
	if p.isPairing(c) {
		return p.servePairing(c)
	}
	if err := p.authenticate(c); err != nil {
		if p.wantsSignIn(c, err) {
			p.logFailure(c, session.CodeOf(err), err)
			if c.request.MayUseCookie() { // else they may be valid: a page of another origin must not sign the browser out
				c.clearCookies()
			}
			return p.showSignIn(c, http.StatusUnauthorized, pageData{To: c.request.Target.String()})
		}
		return err
	}
	if p.signIns != nil && c.request.IsNavigation() && c.request.IsSecure() && c.request.Place.IsOwnOrigin() {
		if token := policy.TokenIn(c.request.Target.Query); token != "" { // it must not stay in the address
			return p.signInAndReload(c, token)
		}
	}
	inFlight := &c.entry.use.inFlight
	if !p.requests.take(inFlight, p.transport.maxRequests()) {
		return errRequests
	}
	defer p.requests.give(inFlight)

	p.judge(c)
	if c.verdict.Action == policy.Wait {
		if err := p.waitForStart(c); err != nil {
			return err
		}
	}
	switch c.verdict.Action {
	case policy.Forward:
		return p.forward(ctx, c)
	case policy.Redirect:
		c.w.Header().Set("Cache-Control", "no-store")
		http.Redirect(c.w, c.in, c.verdict.Location, http.StatusSeeOther)
		return nil
	case policy.ShowPage:
		return p.showProgress(c)
	case policy.Refuse, policy.Wait:
	}
	return c.verdict.Reason
}

func (p *Proxy) judge(c *call) {
	c.verdict = c.entry.route.Judge(&c.request, c.principal, p.rules, time.Now())
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
		"session_id", string(c.request.Place.Session),
		"request_id", c.request.ID,
		"status", c.w.status,
		"duration_ms", float64(time.Since(started).Microseconds())/1000,
		"bytes", c.w.bytes.Load(),
		"complete", c.finished)
}
