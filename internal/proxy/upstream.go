package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"berth/internal/session"
)

// Transport bounds the connections to one session's server. The zero value of a field means its default.
//
// There is no timeout for a whole call, and ReadTimeout does not apply to calls that a profile lists as silent: OpenCode sends
// no byte until a turn is finished, which may take many minutes.
//
// KeepaliveExpiry must be shorter than the time after which the server closes idle connections, or requests are sent
// on connections that are just being closed; OpenCode leaves them open for more than 400 seconds. Such a request is retried on
// another connection if no byte of it was written, or if it is a GET, HEAD or OPTIONS without a body and no byte of the
// response was received. Any other may have been carried out, and gets a 502.
type Transport struct {
	MaxKeepaliveConnections int           // idle connections kept for a session; default 20
	MaxConnections          int           // requests at once to a session, and again as many streams; default 100
	KeepaliveExpiry         time.Duration // after which an idle connection is closed; default 300 s
	ConnectTimeout          time.Duration // for a TCP connection, and for a slot when MaxConnections is reached; default 10 s
	ReadTimeout             time.Duration // from the end of an ordinary request to the header of its answer; default 30 s

	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer's
}

func (t Transport) validate() error {
	if t.MaxKeepaliveConnections < 0 || t.MaxConnections < 0 || t.KeepaliveExpiry < 0 || t.ConnectTimeout < 0 || t.ReadTimeout < 0 {
		return errors.New("a limit of the connections to sessions is negative")
	}
	return nil
}

func (t Transport) withDefaults() Transport {
	t.MaxKeepaliveConnections = cmp.Or(t.MaxKeepaliveConnections, 20)
	t.MaxConnections = cmp.Or(t.MaxConnections, 100)
	t.KeepaliveExpiry = cmp.Or(t.KeepaliveExpiry, 300*time.Second)
	t.ConnectTimeout = cmp.Or(t.ConnectTimeout, 10*time.Second)
	t.ReadTimeout = cmp.Or(t.ReadTimeout, 30*time.Second)
	if t.Dial == nil {
		t.Dial = (&net.Dialer{}).DialContext
	}
	return t
}

// upstream is one session's server: the connections to it and the slots of requests. Every session has its own,
// because an engine gives a removed container's port to the next one, and a connection must never serve two sessions.
type upstream struct {
	life  context.Context //nolint:containedctx // not a request's: its end closes every connection, idle or not
	close context.CancelFunc

	open     sync.Once // the other fields are set by the first request
	settings Transport
	budget   *budget // of connections to all sessions' servers
	held     share
	http     *http.Transport
	requests slots // of concurrent requests
	streams  slots // of event streams and WebSockets
}

func newUpstream() *upstream {
	u := new(upstream)
	u.life, u.close = context.WithCancel(context.Background())
	return u
}

// maxHeaderBytes bounds the header of a response, to the limit for clients' headers: each of a session's requests may use
// several times as much memory once it is parsed.
const maxHeaderBytes = 64 << 10

// maxConnections bounds the connections to one session's server, idle ones and those being made included: the most
// that its requests, streams and idle connections need. Canceled requests leave connections behind for a while, so that the
// limit of requests does not bound them.
func (t Transport) maxConnections() int { return 2*t.MaxConnections + t.MaxKeepaliveConnections }

// maxRequests bounds the requests of one session: those in its server's slots, its streams, and as many more that wait for a
// slot or for the session's start.
func (t Transport) maxRequests() int { return 3 * t.MaxConnections }

var errRequests = session.Errorf(session.CodeLimit,
	"the session has too many requests at once; let some of them finish and try again").After(time.Second)

// ready creates the transport at the first call.
func (u *upstream) ready(settings Transport, connections *budget) {
	u.open.Do(func() {
		u.settings, u.budget = settings, connections
		u.requests = make(slots, settings.MaxConnections)
		u.streams = make(slots, settings.MaxConnections)
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		u.http = &http.Transport{
			Proxy:       nil, // HTTP_PROXY does not apply: servers are on this host or its bridge
			DialContext: u.dial,
			Protocols:   protocols,
			// The client's Accept-Encoding goes through, and so does the answer's encoding.
			DisableCompression:     true,
			MaxIdleConns:           settings.MaxKeepaliveConnections,
			MaxIdleConnsPerHost:    settings.MaxKeepaliveConnections,
			MaxConnsPerHost:        0, // a limit would let streams take the connections of requests; see acquireSlot
			IdleConnTimeout:        settings.KeepaliveExpiry,
			MaxResponseHeaderBytes: maxHeaderBytes,
		}
	})
}

// The reasons of failed connections that clients may see.
var (
	errConnections = session.Errorf(session.CodeLimit,
		"the session holds as many connections as it may; let requests finish, or restart the session if there are none").After(time.Second)
	errConnectTimeout = session.Errorf(session.CodeUpstreamTimeout,
		"the session's server did not accept a connection in time; try again, and restart the session if that does not help").After(time.Second)
)

func (u *upstream) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !u.budget.take(&u.held, u.settings.maxConnections()) {
		return nil, errConnections
	}
	giveBack := sync.OnceFunc(func() { u.budget.give(&u.held) })
	ctx, cancel := context.WithTimeout(ctx, u.settings.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(u.life, cancel)
	defer stop()
	conn, err := u.settings.Dial(ctx, network, address)
	if err != nil {
		giveBack()
		err = fmt.Errorf("connect to the session's server: %w", err)
		if timeout, ok := errors.AsType[net.Error](err); errors.Is(ctx.Err(), context.DeadlineExceeded) || ok && timeout.Timeout() {
			err = errConnectTimeout.Because(err)
		}
		return nil, err
	}
	forget := context.AfterFunc(u.life, func() {
		giveBack()
		_ = conn.Close()
	})
	return &upstreamConn{Conn: conn, release: func() { forget(); giveBack() }}, nil
}
