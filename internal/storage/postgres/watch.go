package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"berth/internal/session"
)

const (
	channel = "berth_sessions" // of the trigger berth_tell

	heartbeat        = time.Second     // interval of pings on a silent connection
	heartbeatTimeout = 2 * time.Second // time-out of a ping
	firstRedial      = 100 * time.Millisecond
	lastRedial       = 2 * time.Second

	// verifyEvery is the interval of notifications to this process itself: a connection that answers may have lost its LISTEN.
	verifyEvery = 5 * time.Second
	// pollEvery is the interval at which changes are polled while notifications do not arrive.
	pollEvery = time.Second
)

// Watch listens on a separate connection, and reconnects until ctx is done. While notifications do not arrive, it polls for
// changes every second instead.
func (s *Store) Watch(ctx context.Context, missed func(), changed func(session.ID)) error {
	w := &watch{store: s, changed: changed, missed: func() {
		s.tokensMayHaveChanged()
		missed()
	}}
	wait := firstRedial
	for ctx.Err() == nil {
		begun := time.Now()
		err := w.listen(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(begun) > lastRedial {
			wait = firstRedial
		}
		s.opts.Logger.DebugContext(ctx, "listener of the database disconnected, reconnecting", "error", err, "after", wait)
		w.fail(ctx, session.MessageOf(explain(ctx, err)))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, lastRedial)
		w.poll(ctx)
	}
	return ctx.Err()
}

// NotificationFault is the reason, for operators, why changes of other instances are polled; "" if notifications arrive.
func (s *Store) NotificationFault() string {
	if text := s.listening.Load(); text != nil {
		return *text
	}
	return ""
}

// watch is one run of [Store.Watch].
type watch struct {
	store   *Store
	missed  func()
	changed func(session.ID)

	polling bool // notifications do not arrive
	polled  time.Time
	seen    map[session.ID]version // by the last poll; nil: there was none
}

// version changes with every change of a session, except for activity.
type version struct {
	created  time.Time
	revision int64
}

// listen forwards notifications until the connection ends.
func (w *watch) listen(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, w.store.opts.Timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, w.store.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	echo := echoChannel()
	for _, c := range []string{channel, tokensChannel, echo} {
		if _, err := conn.Exec(dial, "LISTEN "+c); err != nil {
			return err
		}
	}
	w.missed()
	var sent, arrived time.Time // of the notification to this process itself
	for {
		if time.Since(sent) >= verifyEvery || arrived.Before(sent) && time.Since(sent) >= echoTimeout {
			if arrived.Before(sent) {
				w.fail(ctx, "notifications do not arrive; "+poolerReason)
			}
			sent = time.Now()
			if err := w.store.notify(ctx, echo); err != nil {
				w.fail(ctx, session.MessageOf(err))
			}
		}
		w.poll(ctx)
		n, err := receive(ctx, conn)
		switch {
		case err != nil:
			return err
		case n == nil:
		case n.Channel == echo:
			arrived = time.Now()
			w.recover(ctx)
		case n.Channel == tokensChannel:
			w.store.tokensMayHaveChanged()
		default:
			w.changed(session.ID(n.Payload))
		}
	}
}

// notify uses the pool: on the listening connection a transaction pooler would return the notification.
func (s *Store) notify(ctx context.Context, channel string) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	return s.do(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, "NOTIFY "+channel)
		return err
	})
}

// fail starts polling for changes, because notifications do not arrive.
func (w *watch) fail(ctx context.Context, reason string) {
	w.store.listening.Store(&reason)
	if !w.polling {
		w.polling, w.polled = true, time.Now() // an immediate reconnect needs no poll
		w.store.opts.Logger.WarnContext(ctx, "change notifications of other instances do not arrive, polling every second", "reason", reason)
	}
}

// recover stops polling. Since missed was called for this connection, no notification was lost.
func (w *watch) recover(ctx context.Context) {
	w.store.listening.Store(nil)
	if w.polling {
		w.polling, w.seen = false, nil
		w.store.opts.Logger.InfoContext(ctx, "change notifications recovered")
	}
}

// poll calls changed for every session that has changed since the last poll, if a poll is due. Failures are ignored: other
// calls report them.
func (w *watch) poll(ctx context.Context) {
	if !w.polling || time.Since(w.polled) < pollEvery {
		return
	}
	w.polled = time.Now()
	w.store.tokensMayHaveChanged()
	now, err := w.store.versions(ctx)
	if err != nil {
		return
	}
	before := w.seen
	if w.seen = now; before == nil {
		w.missed()
		return
	}
	for id, v := range now {
		if before[id] != v {
			w.changed(id)
		}
	}
	for id := range before {
		if _, ok := now[id]; !ok {
			w.changed(id)
		}
	}
}

func (s *Store) versions(ctx context.Context) (map[session.ID]version, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	all := map[session.ID]version{}
	err := s.do(ctx, func(ctx context.Context) error {
		rows, _ := s.pool.Query(ctx, `SELECT session_id, created_at, revision FROM sessions`)
		var id session.ID
		var v version
		_, err := pgx.ForEachRow(rows, []any{&id, &v.created, &v.revision}, func() error {
			all[id] = version{v.created.UTC(), v.revision}
			return nil
		})
		return err
	})
	return all, err
}

// receive waits for the next notification. After a silent interval it pings the connection and returns nil.
func receive(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	silence, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	n, err := conn.WaitForNotification(silence)
	if err == nil {
		return n, nil
	}
	if ctx.Err() != nil || silence.Err() == nil || conn.IsClosed() {
		return nil, err
	}
	alive, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	return nil, conn.Ping(alive)
}
