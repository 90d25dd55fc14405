package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
)

var overwriteOne = fmt.Sprintf(`UPDATE sessions SET %s WHERE session_id = %s`, assignments(), placeholder("session_id"))

// Merge replaces a session by the result of decide, which is given the current one; nil is a missing session. It is done once
// for each key, also if it is repeated, and returns the resulting session, nil if it is deleted. decide sets the revision.
func (s *Store) Merge(ctx context.Context, key string, id session.ID, decide func(now *session.Session) *session.Session) (*session.Session, error) {
	var after *session.Session
	err := s.write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		// The lock also prevents others from inserting a missing row.
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
	rows, _ := tx.Query(ctx, `SELECT `+selected+` FROM sessions WHERE session_id = $1 FOR UPDATE`, string(id))
	now, err := pgx.CollectExactlyOneRow(rows, scanner())
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &now, err
}

// put replaces the locked row of a session by the next one.
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
		return session.Errorf(session.CodeStoreUnavailable, "session %s was created by another instance; try again", id).After(retryAfter)
	}
	return err
}
