package app

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/server"
	"berth/internal/session"
	"berth/internal/telemetry"
	"berth/internal/throttle"
)

// trail is the audit trail: who did what to which session, from where, and how that ended. Every record is one line whose
// message is "audit" and whose operation is what was done.
type trail struct {
	log      *slog.Logger
	refusals *refusals
	visits   *throttle.Limiter[session.ID] // records of requests with a session's token

	mu    sync.Mutex
	hour  time.Time        // that known is of
	known map[visitor]bool // who was let in with a session's token in this hour
}

// visitor is somebody with a session's token at an address, on one of the API's routes or at the session's server.
type visitor struct {
	session session.ID
	site    netip.Addr
	route   string
}

// Records of requests with a session's token: one session's user cannot push everybody else's out of the trail.
const (
	visitBurst  = 60
	visitEvery  = time.Minute
	mostVisited = 8192 // sessions
)

func (a *App) openTrail() error {
	file := telemetry.File{MaxSizeMB: a.cfg.Log.MaxSizeMB, Backups: a.cfg.Log.BackupCount}
	if a.cfg.Log.FileEnabled {
		file.Path = a.cfg.Log.AuditFile
	}
	log, closer, err := telemetry.NewTrail(file, a.log)
	if err != nil {
		return err
	}
	a.onStop("audit trail", func(context.Context) error { return closer.Close() })
	if file.Path != "" {
		file.Path = a.cfg.Log.RefusalsFile()
	}
	apart, closer, err := telemetry.NewTrail(file, a.log)
	if err != nil {
		return err
	}
	refusals := newRefusals(apart)
	a.onStop("record of refusals", func(ctx context.Context) error {
		refusals.writeOmitted(ownRequest(ctx))
		return closer.Close()
	})
	a.trail = &trail{
		log: log, refusals: refusals, known: map[visitor]bool{},
		visits: throttle.NewLimiter[session.ID](visitBurst, visitEvery, mostVisited),
	}
	return nil
}

// outcomes of records.
const (
	wentWell = "ok"
	failed   = "failed"
	refused  = "refused"
)

// record writes one line. Whoever did it, and from where, is in ctx.
func (t *trail) record(ctx context.Context, did string, id session.ID, outcome string, more ...slog.Attr) {
	writeRecord(ctx, t.log, did, id, outcome, more...)
}

func writeRecord(ctx context.Context, log *slog.Logger, did string, id session.ID, outcome string, more ...slog.Attr) {
	attrs := []slog.Attr{
		slog.String("operation", did), slog.String("actor", session.ActorOf(ctx)), slog.String("outcome", outcome),
	}
	if id != "" {
		attrs = append(attrs, slog.String("session_id", string(id)))
	}
	if from := remoteOf(ctx); from != "" {
		attrs = append(attrs, slog.String("remote", from))
	}
	log.LogAttrs(ctx, slog.LevelInfo, "audit", append(attrs, more...)...)
}

// performed records what was done to sessions, or refused.
func (t *trail) performed(ctx context.Context, p lifecycle.Performance) {
	outcome := wentWell
	var more []slog.Attr
	if p.Outcome != "" {
		outcome = failed
		more = append(more, slog.String("code", string(p.Outcome)))
	}
	if p.Refused {
		outcome = refused
	}
	if p.Automatic {
		more = append(more, slog.Bool("automatic", true))
	}
	if p.Forced {
		more = append(more, slog.Bool("forced", true))
	}
	if p.Why != "" {
		more = append(more, slog.String("reason", string(p.Why)))
	}
	t.record(ctx, p.What, p.Session, outcome, more...)
}

// authenticate is what a record calls the showing of a token.
const authenticate = "authenticate"

// entered records a request to the API with a valid token: each one of the operator, and of a session's user the first in an
// hour from an address on a route. What changes a session has a record of its own.
func (t *trail) entered(ctx context.Context, id session.ID, route string, standing session.Standing) {
	server.MarkAuthenticated(ctx)
	if session.ActorOf(ctx) == actorUser {
		t.admitted(ctx, id, route, standing, false)
		return
	}
	t.recordAdmission(ctx, id, route, standing)
}

// visited records a request with a valid token to a session's server: the first in an hour from an address, and each stream.
func (t *trail) visited(ctx context.Context, id session.ID, standing session.Standing, stream bool) {
	server.MarkAuthenticated(ctx)
	route := "proxy"
	if stream {
		route = "stream"
	}
	t.admitted(session.WithActor(ctx, actorUser), id, route, standing, stream)
}

// admitted records what was done with a session's token, within the session's share of the trail.
func (t *trail) admitted(ctx context.Context, id session.ID, route string, standing session.Standing, always bool) {
	site := throttle.SiteOf(remoteOf(ctx))
	if !always && !t.isNew(visitor{id, site, route}) {
		return
	}
	if t.visits.Take(id) > 0 {
		t.refusals.omit(source{session: id, outcome: wentWell})
		return
	}
	t.recordAdmission(ctx, id, route, standing)
}

func (t *trail) recordAdmission(ctx context.Context, id session.ID, route string, standing session.Standing) {
	t.record(ctx, authenticate, id, wentWell, slog.String("route", route), slog.String("token", string(standing)))
}

// Actors beside those of package session.
const (
	actorUser      = "user"      // of requests with a session's token
	actorAnonymous = "anonymous" // of requests without a valid token
)

// mostVisitors bounds what is remembered: beyond, visitors are recorded more often than they need be.
const mostVisitors = 100_000

func (t *trail) isNew(v visitor) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if hour := time.Now().Truncate(time.Hour); !hour.Equal(t.hour) || len(t.known) >= mostVisitors {
		t.hour, t.known = hour, map[visitor]bool{}
	}
	seen := t.known[v]
	t.known[v] = true
	return !seen
}

// called records calls of the engine that change something.
func (t *trail) called(ctx context.Context, call, container, outcome string) {
	if outcome == wentWell {
		t.record(ctx, "engine_"+call, "", wentWell, slog.String("container", container))
		return
	}
	t.record(ctx, "engine_"+call, "", failed, slog.String("container", container), slog.String("code", outcome))
}

type remoteKey struct{}

// withRemote says from where what is done with ctx was asked for. A port that is not known, 0, is left out.
func withRemote(ctx context.Context, address string) context.Context {
	if host, unknown := strings.CutSuffix(address, ":0"); unknown {
		address = strings.Trim(host, "[]")
	}
	return context.WithValue(ctx, remoteKey{}, address)
}

func remoteOf(ctx context.Context) string {
	address, _ := ctx.Value(remoteKey{}).(string)
	return address
}
