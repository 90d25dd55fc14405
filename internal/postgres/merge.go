package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"berth/internal/session"
)

var (
	overwriteOne = fmt.Sprintf(`UPDATE sessions SET %s WHERE session_id = %s`, assignments(), placeholder("session_id"))
	// Members of the row that a newer Berth knows stay as they are.
	importOne = fmt.Sprintf(`INSERT INTO sessions (%s) VALUES (%s) ON CONFLICT (session_id) DO UPDATE SET %s WHERE sessions.revision < %s`,
		selected, placeholders(), assignments(), placeholder("revision"))
)

// Merge lets decide make of a session what it shall be from now on, given what it is: nil is a session that is not there.
// It happens once for each key, however often it is asked for, and returns the session as it is afterwards; a deleted
// one is nil. The revision is what decide says.
func (s *Store) Merge(ctx context.Context, key string, id session.ID, decide func(now *session.Session) *session.Session) (*session.Session, error) {
	var after *session.Session
	err := s.write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		// Also a row that is not there yet must not be made by somebody else meanwhile.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, "berth merge "+string(id)); err != nil {
			return err
		}
		now, err := forUpdate(ctx, tx, id)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `INSERT INTO berth_merges (key) VALUES ($1) ON CONFLICT DO NOTHING`, key)
		if err != nil {
			return err
		}
		if after = now; tag.RowsAffected() == 0 {
			return nil
		}
		after = decide(now)
		return put(ctx, tx, id, now, after)
	})
	return after, err
}

func forUpdate(ctx context.Context, tx pgx.Tx, id session.ID) (*session.Session, error) {
	rows, err := tx.Query(ctx, `SELECT `+selected+` FROM sessions WHERE session_id = $1 FOR UPDATE`, string(id))
	if err != nil {
		return nil, err
	}
	now, err := pgx.CollectExactlyOneRow(rows, scanner())
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &now, err
}

// put makes the row of a session, which is locked, be the next one.
func put(ctx context.Context, tx pgx.Tx, id session.ID, now, next *session.Session) error {
	switch {
	case next == nil && now == nil:
		return nil
	case next == nil:
		_, err := tx.Exec(ctx, `DELETE FROM sessions WHERE session_id = $1`, string(id))
		return err
	}
	args, err := values(*next)
	if err != nil {
		return err
	}
	if now != nil {
		_, err = tx.Exec(ctx, overwriteOne, args...)
		return err
	}
	tag, err := tx.Exec(ctx, insertOne, args...)
	if err == nil && tag.RowsAffected() == 0 {
		return session.Errorf(session.CodeStoreUnavailable, "session %s was made by someone else just now; try again", id).After(retryAfter)
	}
	return err
}

// Import tells what became of a file's sessions.
type Import struct {
	Source   string    // names the file by what is in it
	At       time.Time // when it was imported first
	Total    int       // sessions in it
	Added    int       // those that are new here, or newer than what was here
	Known    int       // those that were here already, in the same or a newer version
	Repeated bool      // it had been imported before, and nothing was done now
}

// Import adds sessions in one transaction and remembers their source: all of them or none, and once however often it is
// tried.
func (s *Store) Import(ctx context.Context, source string, sessions []session.Session) (Import, error) {
	done := Import{Source: source, Total: len(sessions)}
	// As long as it takes: what is imported at the first start may be much.
	err := explain(ctx, pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, "berth import"); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT at, total, added, known FROM berth_imports WHERE source = $1`, source).
			Scan(&done.At, &done.Total, &done.Added, &done.Known)
		if !errors.Is(err, pgx.ErrNoRows) {
			done.Repeated = err == nil
			return err
		}
		if done.Added, err = addAll(ctx, tx, sessions); err != nil {
			return err
		}
		done.Known = done.Total - done.Added
		return tx.QueryRow(ctx, `INSERT INTO berth_imports (source, total, added, known) VALUES ($1, $2, $3, $4) RETURNING at`,
			source, done.Total, done.Added, done.Known).Scan(&done.At)
	}))
	done.At = done.At.UTC()
	return done, err
}

func addAll(ctx context.Context, tx pgx.Tx, sessions []session.Session) (added int, err error) {
	var b pgx.Batch
	for _, v := range sessions {
		args, err := values(v)
		if err != nil {
			return 0, err
		}
		b.Queue(importOne, args...).Exec(func(tag pgconn.CommandTag) error {
			added += int(tag.RowsAffected())
			return nil
		})
	}
	err = tx.SendBatch(ctx, &b).Close()
	return added, err
}

// Imports lists what was imported, the latest first.
func (s *Store) Imports(ctx context.Context) ([]Import, error) {
	var all []Import
	err := s.do(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, `SELECT source, at, total, added, known FROM berth_imports ORDER BY at DESC, source LIMIT 100`)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Import, error) {
			var i Import
			err := row.Scan(&i.Source, &i.At, &i.Total, &i.Added, &i.Known)
			i.At = i.At.UTC()
			return i, err
		})
		return err
	})
	return all, err
}

// Keep returns the text that all processes on the database have in common under a name: value, if nobody has brought
// one before.
func (s *Store) Keep(ctx context.Context, name, value string) (string, error) {
	var kept string
	err := s.write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO berth_settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, value); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT value FROM berth_settings WHERE name = $1`, name).Scan(&kept)
	})
	return kept, err
}
