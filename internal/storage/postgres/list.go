package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// Get returns a session.
func (s *Store) Get(ctx context.Context, id session.ID) (session.Session, error) {
	var found session.Session
	err := s.do(ctx, func(ctx context.Context) (err error) {
		rows, _ := s.pool.Query(ctx, `SELECT `+selected+` FROM sessions WHERE session_id = $1`, string(id))
		if found, err = pgx.CollectExactlyOneRow(rows, scanner()); errors.Is(err, pgx.ErrNoRows) {
			return session.NotFound(id)
		}
		return err
	})
	return found, err
}

// List returns one page. An invalid cursor is a CodeInvalid error.
func (s *Store) List(ctx context.Context, q session.Query) (session.Page, error) {
	var where []string
	var args []any
	condition := func(format string, values ...any) {
		at := make([]any, len(values))
		for i := range values {
			at[i] = len(args) + i + 1
		}
		args = append(args, values...)
		where = append(where, fmt.Sprintf(format, at...))
	}
	if q.After != "" {
		after, err := record.ParseCursor(q.After)
		if err != nil {
			return session.Page{}, err
		}
		condition("(created_at, session_id) > ($%d, $%d)", after.CreatedAt, string(after.ID))
	}
	if q.Owner != "" {
		condition("owner = $%d", q.Owner)
	}
	if len(q.Statuses) > 0 {
		condition("status = ANY ($%d)", texts(q.Statuses))
	}
	if !q.TokenAt.IsZero() {
		condition("coalesce(auth_token, '') <> '' AND (token_expires_at IS NULL OR token_expires_at > $%d)", q.TokenAt.UTC())
	}
	query := `SELECT ` + selected + ` FROM sessions`
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, " AND ")
	}
	query += ` ORDER BY created_at, session_id`
	if q.Limit > 0 {
		args = append(args, int64(q.Limit)+1)
		query += fmt.Sprintf(` LIMIT $%d`, len(args))
	}
	var page session.Page
	err := s.do(ctx, func(ctx context.Context) (err error) {
		rows, _ := s.pool.Query(ctx, query, args...)
		page.Sessions, err = pgx.CollectRows(rows, scanner())
		return err
	})
	if err != nil {
		return session.Page{}, err
	}
	if q.Limit > 0 && len(page.Sessions) > q.Limit {
		page.Sessions = page.Sessions[:q.Limit]
		page.Next = record.PositionOf(page.Sessions[q.Limit-1]).Cursor()
	}
	return page, nil
}

func texts(statuses []session.Status) []string {
	out := make([]string, len(statuses))
	for i, s := range statuses {
		out[i] = string(s)
	}
	return out
}
