package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
	"berth/internal/usage"
)

const (
	// pruneEvery is the interval at which old rows are removed.
	pruneEvery = 10 * time.Minute
	// mostExpired bounds the holds that one call of Maintain counts.
	mostExpired = 1000
)

// Maintain implements [usage.Store].
func (u *Usage) Maintain(ctx context.Context) error {
	if err := u.renew(ctx); err != nil {
		return err
	}
	for range mostExpired {
		if more, err := u.expireOne(ctx); err != nil || !more {
			if err != nil {
				return err
			}
			break
		}
	}
	u.mu.Lock()
	due := time.Since(u.pruned) > pruneEvery
	u.mu.Unlock()
	if !due {
		return nil
	}
	err := u.prune(ctx)
	if err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.pruned = time.Now()
	}
	return err
}

// renew renews the leases of this process's holds, by the database's clock.
func (u *Usage) renew(ctx context.Context) error {
	u.mu.Lock()
	ids := slices.Collect(maps.Keys(u.live))
	u.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	return u.store.do(ctx, func(ctx context.Context) error {
		_, err := u.store.pool.Exec(ctx, `UPDATE berth_usage_holds SET until = now() + $2 * interval '1 second'
			WHERE id = ANY($1::text[]) AND NOT expired`, ids, int(usage.Lease/time.Second))
		return err
	})
}

// expireOne counts one hold by its estimate whose process has ended. It reports whether there was one.
func (u *Usage) expireOne(ctx context.Context) (found bool, err error) {
	err = u.store.write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var h usage.Hold
		err := tx.QueryRow(ctx, `
			UPDATE berth_usage_holds SET expired = true WHERE id = (
				SELECT id FROM berth_usage_holds WHERE NOT expired AND until < now() ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
			RETURNING id, at, session_id, owner, provider, model, input, cached, output, micros`).Scan(
			&h.ID, &h.At, &h.Session, &h.Owner, &h.Provider, &h.Model, &h.Tokens.Input, &h.Tokens.Cached, &h.Tokens.Output, &h.Micros)
		if found = !errors.Is(err, pgx.ErrNoRows); !found {
			return nil
		}
		if err != nil {
			return err
		}
		return count(ctx, tx, h.Record(h.Estimate()), h.Settled(h.Estimate()))
	})
	return found, err
}

// prune removes what is no longer needed.
func (u *Usage) prune(ctx context.Context) error {
	return u.store.do(ctx, func(ctx context.Context) error {
		var b pgx.Batch
		b.Queue(`DELETE FROM berth_usage WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::int`, usage.KeepDays)
		b.Queue(`DELETE FROM berth_usage_holds WHERE expired AND until < now() - interval '7 days'`)
		b.Queue(`DELETE FROM berth_usage_counters WHERE start < now() - interval '70 days' OR (kind = $1 AND start < now() - interval '1 hour')`,
			string(usage.RequestsPerMinute))
		return u.store.pool.SendBatch(ctx, &b).Close()
	})
}

const sums = `least(coalesce(sum(calls), 0), 9e18)::bigint, least(coalesce(sum(input), 0), 9e18)::bigint, least(coalesce(sum(cached), 0), 9e18)::bigint,
	least(coalesce(sum(output), 0), 9e18)::bigint, least(coalesce(sum(estimated), 0), 9e18)::bigint, least(coalesce(sum(micros), 0), 9e18)::bigint`

// nameOf is usage.Group.NameOf in SQL.
func nameOf(g usage.Group) string {
	switch g {
	case usage.ByOwner:
		return "owner"
	case usage.BySession:
		return "session_id"
	case usage.ByModel:
		return "provider || '/' || model"
	default:
		return `to_char(day, 'YYYY-MM-DD') COLLATE "C"`
	}
}

// Sum implements [usage.Store].
func (u *Usage) Sum(ctx context.Context, q usage.Query) (usage.Page, error) {
	from, to := dayOr(q.From, "-infinity"), dayOr(q.To, "infinity")
	const selected = ` FROM berth_usage WHERE ($1::text = '' OR owner = $1) AND ($2::text = '' OR session_id = $2)
		AND day BETWEEN $3::text::date AND $4::text::date AND (calls, input, output, micros) <> (0, 0, 0, 0)`
	name := nameOf(q.By)
	args := []any{q.Owner, string(q.Session), from, to}
	more := args
	after := ""
	if q.After != nil {
		after, more = " AND "+name+" > $5::text", append(slices.Clone(more), *q.After)
	}
	limit := ""
	if q.Limit > 0 {
		limit = " LIMIT " + strconv.Itoa(q.Limit+1)
	}
	var page usage.Page
	err := u.store.do(ctx, func(ctx context.Context) error {
		page = usage.Page{}
		rows, _ := u.store.pool.Query(ctx, `SELECT `+name+`, `+sums+selected+after+` GROUP BY 1 ORDER BY 1`+limit, more...)
		var err error
		if page.Rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r usage.Row, err error) {
			return r, row.Scan(append([]any{&r.Name}, fields(&r.Use)...)...)
		}); err != nil {
			return err
		}
		return u.store.pool.QueryRow(ctx, `SELECT `+sums+selected, args...).Scan(fields(&page.Total)...)
	})
	if q.Limit > 0 && len(page.Rows) > q.Limit {
		page.Rows, page.More = page.Rows[:q.Limit], true
	}
	return page, err
}

func fields(u *usage.Use) []any {
	return []any{&u.Calls, &u.Tokens.Input, &u.Tokens.Cached, &u.Tokens.Output, &u.Estimated, &u.Micros}
}

func dayOr(day time.Time, none string) string {
	if day.IsZero() {
		return none
	}
	return day.Format(time.DateOnly)
}

// Records implements [usage.Store].
func (u *Usage) Records(ctx context.Context) ([]usage.Record, error) {
	rows, _ := u.store.pool.Query(ctx, `SELECT day, session_id, owner, provider, model, calls, input, cached, output, estimated, micros FROM berth_usage
		WHERE (calls, input, output, micros) <> (0, 0, 0, 0) ORDER BY day, session_id, owner, provider, model`)
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r usage.Record, err error) {
		var id string
		var use usage.Use
		err = row.Scan(append([]any{&r.Day, &id, &r.Owner, &r.Provider, &r.Model}, fields(&use)...)...)
		r.Session, r.Day = session.ID(id), r.Day.UTC()
		r.Calls, r.Tokens, r.Estimated, r.Micros = use.Calls, use.Tokens, use.Estimated, use.Micros
		return r, err
	})
	return all, explain(ctx, err)
}
