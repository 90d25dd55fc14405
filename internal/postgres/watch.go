package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"berth/internal/session"
)

const (
	channel = "berth_sessions" // the trigger berth_tell speaks there

	heartbeat        = time.Second     // how often a silent connection is tried
	heartbeatTimeout = 2 * time.Second // how long it may take to answer
	firstRedial      = 100 * time.Millisecond
	lastRedial       = 2 * time.Second
)

// Watch listens on a connection of its own, which is made again for as long as ctx lasts.
func (s *Store) Watch(ctx context.Context, missed func(), changed func(session.ID)) error {
	wait := firstRedial
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.listen(ctx, missed, changed)
		if ctx.Err() != nil {
			break
		}
		if time.Since(begun) > lastRedial {
			wait = firstRedial
		}
		s.opts.Logger.DebugContext(ctx, "not told of changes by the database; connecting again", "error", err, "after", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, lastRedial)
	}
	return ctx.Err()
}

// listen passes on what the database tells until the connection ends.
func (s *Store) listen(ctx context.Context, missed func(), changed func(session.ID)) error {
	dial, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, s.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), heartbeatTimeout)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(dial, "LISTEN "+channel); err != nil {
		return err
	}
	missed()
	for {
		told, err := s.hear(ctx, conn)
		if err != nil {
			return err
		}
		if told != nil {
			changed(session.ID(told.Payload))
		}
	}
}

// hear waits for the next thing that the database tells. Now and then it returns nil, after a sign of life.
func (s *Store) hear(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	silence, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	told, err := conn.WaitForNotification(silence)
	if err == nil {
		return told, nil
	}
	if ctx.Err() != nil || silence.Err() == nil || conn.IsClosed() {
		return nil, err
	}
	alive, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	return nil, conn.Ping(alive)
}
