package app

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"berth/internal/session"
	"berth/internal/telemetry"
)

// trail is the audit trail: who did what to which session, from where, and how that ended. Every record is one line whose
// message is "audit" and whose operation is what was done.
type trail struct {
	log *slog.Logger

	mu    sync.Mutex
	hour  time.Time        // that known is of
	known map[visitor]bool // who was let in to sessions' servers in this hour
}

// visitor is somebody with a session's token at an address.
type visitor struct {
	session session.ID
	host    string
}

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
	a.trail = &trail{log: log, known: map[visitor]bool{}}
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
	attrs := []slog.Attr{
		slog.String("operation", did), slog.String("actor", session.ActorOf(ctx)), slog.String("outcome", outcome),
	}
	if id != "" {
		attrs = append(attrs, slog.String("session_id", string(id)))
	}
	if from := remoteOf(ctx); from != "" {
		attrs = append(attrs, slog.String("remote", from))
	}
	t.log.LogAttrs(ctx, slog.LevelInfo, "audit", append(attrs, more...)...)
}

// performed records what was done to sessions, or refused.
func (t *trail) performed(ctx context.Context, p session.Performance) {
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

// entered records every request to the API that needs a token.
func (t *trail) entered(ctx context.Context, id session.ID, route string, standing session.Standing) {
	t.record(ctx, authenticate, id, admitted(standing), slog.String("route", route), slog.String("token", string(standing)))
}

// visited records who was not let in to a session's server, who was for the first time in an hour from an address, and
// every stream.
func (t *trail) visited(ctx context.Context, id session.ID, standing session.Standing, stream bool) {
	route := "proxy"
	switch {
	case stream:
		route = "stream"
	case standing.LetIn() && !t.isNew(visitor{id, hostOf(remoteOf(ctx))}):
		return
	}
	if standing.LetIn() {
		ctx = session.WithActor(ctx, "user")
	}
	t.record(ctx, authenticate, id, admitted(standing), slog.String("route", route), slog.String("token", string(standing)))
}

func admitted(standing session.Standing) string {
	if standing.LetIn() {
		return wentWell
	}
	return refused
}

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

// withRemote says from where what is done with ctx was asked for.
func withRemote(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, remoteKey{}, address)
}

func remoteOf(ctx context.Context) string {
	address, _ := ctx.Value(remoteKey{}).(string)
	return address
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
