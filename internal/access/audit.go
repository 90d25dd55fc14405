package access

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// Trail is the audit trail: who did what to which session, from where, and how that ended. Every record is one line whose
// message is "audit" and whose operation is what was done.
//
// Requests without a valid token are recorded apart from the rest: whoever can reach Berth can make those records grow.
// What exceeds an address's or a session's share is counted, and written as one line for each in an interval.
type Trail struct {
	log        *slog.Logger
	rejections *slog.Logger
	visits     *Limiter[Subject] // records of requests with a valid token that is not the operator's

	known atomic.Pointer[visitors]

	mu      sync.Mutex
	omitted map[source]int
}

// Records of requests with a valid token that is not the operator's: its holder cannot rotate the records of others out of the
// trail.
const (
	visitBurst  = 60
	visitEvery  = time.Minute
	mostVisited = 8192 // sessions, owners and platform tokens
)

// NewTrail writes to two logs, the second one for requests without a valid token.
func NewTrail(log, rejections *slog.Logger) *Trail {
	t := &Trail{
		log: log, rejections: rejections, omitted: map[source]int{},
		visits: NewLimiter[Subject](visitBurst, visitEvery, mostVisited),
	}
	t.known.Store(&visitors{})
	return t
}

// Outcomes of records.
const (
	OK      = "ok"
	Failed  = "failed"
	Refused = "refused"
)

// authenticate is the operation of records about a request's token.
const authenticate = "authenticate"

// Record writes one line. The actor and the client's address are in ctx.
func (t *Trail) Record(ctx context.Context, did string, id session.ID, outcome string, more ...slog.Attr) {
	write(ctx, t.log, did, id, outcome, more...)
}

func write(ctx context.Context, log *slog.Logger, did string, id session.ID, outcome string, more ...slog.Attr) {
	attrs := []slog.Attr{
		slog.String("operation", did), slog.String("actor", session.ActorOf(ctx)), slog.String("outcome", outcome),
	}
	if id != "" {
		attrs = append(attrs, slog.String("session_id", string(id)))
	}
	if from := ClientOf(ctx).Address; from != "" {
		attrs = append(attrs, slog.String("remote", from))
	}
	log.LogAttrs(ctx, slog.LevelInfo, "audit", append(attrs, more...)...)
}

func (t *Trail) rejected(ctx context.Context, q Ask, state TokenState) {
	write(session.WithActor(ctx, Principal{}.Actor()), t.rejections, authenticate, q.Session, Refused,
		slog.String("route", q.Operation), slog.String("token", string(state)))
}

// denied records a request with a valid token that does not permit it, within its holder's share of the trail.
func (t *Trail) denied(ctx context.Context, p Principal, q Ask) {
	if t.visits.Take(p.Subject()) > 0 {
		t.omit(source{actor: p.Actor(), outcome: Refused})
		return
	}
	write(session.WithActor(ctx, p.Actor()), t.rejections, authenticate, q.Session, Refused,
		slog.String("route", q.Operation), slog.String("token", Forbidden))
}

// admitted records a request with a valid token: each one of the operator, and with any other token the first one in an hour
// from an address on a route, or always, within its holder's share of the trail. What changes a session has a record of its own.
func (t *Trail) admitted(ctx context.Context, p Principal, id session.ID, route string, always bool) {
	if p.Kind != Operator {
		if !always && !t.isNew(authSource{p.Subject(), ClientOf(ctx).Site, route}) {
			return
		}
		if t.visits.Take(p.Subject()) > 0 {
			t.omit(source{session: p.Session, actor: p.Actor(), outcome: OK})
			return
		}
	}
	t.Record(session.WithActor(ctx, p.Actor()), authenticate, id, OK, slog.String("route", route), slog.String("token", string(p.state())))
}

// egress is the operation of records about requests to the gateway.
const egress = "egress"

// RefusedEgress records what the gateway has refused to a session's container, within the session's share of the trail. id is empty if
// it is not known who has asked.
func (t *Trail) RefusedEgress(ctx context.Context, id session.ID, from, rule, what string) {
	p := Principal{Kind: SessionToken, Session: id}
	if t.visits.Take(p.Subject()) > 0 {
		t.omit(source{session: id, actor: p.Actor(), outcome: Refused})
		return
	}
	write(session.WithActor(ctx, p.Actor()), t.rejections, egress, id, Refused,
		slog.String("remote", from), slog.String("rule", rule), slog.String("what", what))
}

// authSource is a token used from an address, on one of the API's routes or at the session's server.
type authSource struct {
	holder Subject
	site   netip.Addr
	route  string
}

// visitors are the sources of one hour.
type visitors struct {
	hour  time.Time
	known sync.Map // of authSource
	count atomic.Int64
}

// mostVisitors bounds what is remembered: beyond, visitors are recorded more often than they need be.
const mostVisitors = 100_000

func (t *Trail) isNew(v authSource) bool {
	now := t.known.Load()
	if hour := time.Now().Truncate(time.Hour); !hour.Equal(now.hour) || now.count.Load() >= mostVisitors {
		t.known.CompareAndSwap(now, &visitors{hour: hour})
		now = t.known.Load()
	}
	if _, known := now.known.Load(v); known {
		return false
	}
	if _, known := now.known.LoadOrStore(v, nil); known {
		return false
	}
	now.count.Add(1)
	return true
}
