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

// Columns of a newer Berth are not changed.
var importOne = fmt.Sprintf(`INSERT INTO sessions (%s) VALUES (%s) ON CONFLICT (session_id) DO UPDATE SET %s WHERE sessions.revision < %s`,
	selected, placeholders(), assignments(), placeholder("revision"))

// Import is the result of an import.
type Import struct {
	Source   string    // identifies the file by its content
	At       time.Time // of the first import
	Total    int       // sessions in it
	Added    int       // new ones, or newer than the existing ones
	Known    int       // existing ones, in the same or a newer version
	Repeated bool      // the file was imported before, and nothing was changed
}

// Import adds sessions in one transaction and records their source: all or none, and once, also if it is repeated.
func (s *Store) Import(ctx context.Context, source string, sessions []session.Session) (Import, error) {
	done := Import{Source: source, Total: len(sessions)}
	// Without a time-out: the first import may be large.
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

// Imports lists the imports, the latest first.
func (s *Store) Imports(ctx context.Context) ([]Import, error) {
	var all []Import
	err := s.do(ctx, func(ctx context.Context) (err error) {
		rows, _ := s.pool.Query(ctx, `SELECT source, at, total, added, known FROM berth_imports ORDER BY at DESC, source LIMIT 100`)
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
