package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"berth/internal/session"
)

const (
	channel = "berth_sessions" // the trigger berth_tell sends to it

	heartbeat        = time.Second     // how often a silent connection is tried
	heartbeatTimeout = 2 * time.Second // how long it may take to answer
	firstRedial      = 100 * time.Millisecond
	lastRedial       = 2 * time.Second

	// verifyEvery is how often a notification is sent to oneself: a connection that answers may have lost its LISTEN.
	verifyEvery = 5 * time.Second
	// pollEvery is how often changes are looked for while notifications do not arrive.
	pollEvery = time.Second
)

// Watch listens on a connection of its own, which is made again for as long as ctx lasts. While notifications do not
// arrive, it looks for changes every second instead.
func (s *Store) Watch(ctx context.Context, missed func(), changed func(session.ID)) error {
	w := &watch{store: s, missed: missed, changed: changed}
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
		s.opts.Logger.DebugContext(ctx, "listener of the database disconnected; connecting again", "error", err, "after", wait)
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

// NotificationFault says why changes of other instances are looked for and not notified of; "" when all is well. It is
// for people.
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

// version changes with every change of a session, activity excepted.
type version struct {
	created  time.Time
	revision int64
}

// listen passes on notifications until the connection ends.
func (w *watch) listen(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, w.store.opts.Timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, w.store.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	echo := echoChannel()
	for _, c := range []string{channel, echo} {
		if _, err := conn.Exec(dial, "LISTEN "+c); err != nil {
			return err
		}
	}
	w.missed()
	var sent, arrived time.Time // of the notification to oneself
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
		default:
			w.changed(session.ID(n.Payload))
		}
	}
}

// notify goes through the pool: on the listening connection a transaction pooler would pass it back.
func (s *Store) notify(ctx context.Context, channel string) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	return s.do(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, "NOTIFY "+channel)
		return err
	})
}

// fail begins to look for changes, because notifications of them do not arrive.
func (w *watch) fail(ctx context.Context, reason string) {
	w.store.listening.Store(&reason)
	if !w.polling {
		w.polling, w.polled = true, time.Now() // a connection that is made again at once needs no poll
		w.store.opts.Logger.WarnContext(ctx, "changes of other instances are not notified of; looking for them every second", "reason", reason)
	}
}

// recover ends that. Since missed was called for this connection, everything was notified of.
func (w *watch) recover(ctx context.Context) {
	w.store.listening.Store(nil)
	if w.polling {
		w.polling, w.seen = false, nil
		w.store.opts.Logger.InfoContext(ctx, "changes of other instances are notified of again")
	}
}

// poll calls changed for every session that has changed since the last poll, if it is time. A database that does not
// answer is left to whoever asks it for something.
func (w *watch) poll(ctx context.Context) {
	if !w.polling || time.Since(w.polled) < pollEvery {
		return
	}
	w.polled = time.Now()
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

// receive waits for the next notification. Now and then it returns nil, after the connection has answered.
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
