package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/access"
)

// tokensChannel is the channel of the trigger berth_tell_tokens.
const tokensChannel = "berth_platform_tokens"

var _ access.TokenStore = (*Store)(nil)

const recordColumns = `id, name, scopes, owner, digest, created_at, created_by, expires_at, last_used_at`

// PlatformTokens implements [access.TokenStore].
func (s *Store) PlatformTokens(ctx context.Context) ([]access.PlatformToken, error) {
	var all []access.PlatformToken
	err := s.do(ctx, func(ctx context.Context) (err error) {
		rows, _ := s.pool.Query(ctx, `SELECT `+recordColumns+` FROM berth_platform_tokens ORDER BY created_at, id`)
		all, err = pgx.CollectRows(rows, readToken)
		return err
	})
	return all, err
}

func readToken(row pgx.CollectableRow) (access.PlatformToken, error) {
	var t access.PlatformToken
	var scopes string
	var expires, used *time.Time
	err := row.Scan(&t.ID, &t.Name, &scopes, &t.Owner, &t.Digest, &t.CreatedAt, &t.CreatedBy, &expires, &used)
	if err != nil {
		return t, err
	}
	t.CreatedAt, t.ExpiresAt, t.LastUsedAt = t.CreatedAt.UTC(), instantOf(expires), instantOf(used)
	return t, t.Scopes.UnmarshalText([]byte(scopes))
}

func instantOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func nullable(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// CreatePlatformToken implements [access.TokenStore].
func (s *Store) CreatePlatformToken(ctx context.Context, t access.PlatformToken, most int) error {
	return s.write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := lockTokens(ctx, tx); err != nil { // or two creates could pass the limit
			return err
		}
		var count int
		var taken bool
		err := tx.QueryRow(ctx, `SELECT count(*), coalesce(bool_or(name = $1 OR id = $2), false) FROM berth_platform_tokens`, t.Name, t.ID).Scan(&count, &taken)
		switch {
		case err != nil:
			return err
		case taken:
			return access.NameTaken(t.Name)
		case count >= most:
			return access.TooManyTokens(most)
		}
		_, err = addToken(ctx, tx, t)
		return err
	})
}

func lockTokens(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, "berth platform tokens")
	return err
}

// addToken adds a token, unless there is one with its ID, name or digest.
func addToken(ctx context.Context, tx pgx.Tx, t access.PlatformToken) (added bool, err error) {
	tag, err := tx.Exec(ctx, `INSERT INTO berth_platform_tokens (`+recordColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
		t.ID, t.Name, t.Scopes.String(), t.Owner, t.Digest, t.CreatedAt, t.CreatedBy, nullable(t.ExpiresAt), nullable(t.LastUsedAt))
	return tag.RowsAffected() > 0, err
}

// DeletePlatformToken implements [access.TokenStore].
func (s *Store) DeletePlatformToken(ctx context.Context, id access.TokenID) error {
	return s.do(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, `DELETE FROM berth_platform_tokens WHERE id = $1`, id)
		if err == nil && tag.RowsAffected() == 0 {
			return access.NoSuchToken()
		}
		return err
	})
}

// TouchPlatformTokens implements [access.TokenStore].
func (s *Store) TouchPlatformTokens(ctx context.Context, at map[access.TokenID]time.Time) error {
	var b pgx.Batch
	for id, used := range at {
		b.Queue(`UPDATE berth_platform_tokens SET last_used_at = greatest(last_used_at, $2) WHERE id = $1`, id, used)
	}
	return s.do(ctx, func(ctx context.Context) error { return s.pool.SendBatch(ctx, &b).Close() })
}

// PlatformTokensChanged holds a value when the platform tokens may have been changed by any process, while [Store.Watch] runs.
func (s *Store) PlatformTokensChanged() <-chan struct{} { return s.tokensChanged }

func (s *Store) tokensMayHaveChanged() {
	select {
	case s.tokensChanged <- struct{}{}:
	default: // the receiver reads all of them
	}
}
