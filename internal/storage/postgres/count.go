package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
	"berth/internal/storage/record"
)

var _ record.Counter = (*Store)(nil)

// Count counts in the database. An invalid status counts as an error, as in [Store.Get].
func (s *Store) Count(ctx context.Context, at time.Time) (record.Counts, error) {
	counts := record.NewCounts()
	err := s.do(ctx, func(ctx context.Context) error {
		rows, _ := s.pool.Query(ctx, `SELECT status, count(*),
			count(*) FILTER (WHERE coalesce(auth_token, '') <> '' AND (token_expires_at IS NULL OR token_expires_at > $1))
			FROM sessions GROUP BY status`, at.UTC())
		counts = record.NewCounts() // of this attempt
		var status session.Status
		var n, authenticated int
		_, err := pgx.ForEachRow(rows, []any{&status, &n, &authenticated}, func() error {
			if !status.Valid() {
				status = session.Error
			}
			counts.ByStatus[status] += n
			counts.Authenticated += authenticated
			return nil
		})
		return err
	})
	return counts, err
}
