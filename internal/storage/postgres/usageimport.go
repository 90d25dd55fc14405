package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/usage"
)

const (
	// importRows is how many records one statement adds.
	importRows  = 5000
	importUsage = `
		INSERT INTO berth_usage AS u (day, session_id, owner, provider, model, calls, input, cached, output, estimated, micros)
		SELECT day::date, session_id, owner, provider, model, calls, input, cached, output, estimated, micros FROM unnest(
			$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
			AS new (day, session_id, owner, provider, model, calls, input, cached, output, estimated, micros)
		ON CONFLICT (day, session_id, owner, provider, model) DO UPDATE SET
			calls = greatest(u.calls, excluded.calls), input = greatest(u.input, excluded.input), cached = greatest(u.cached, excluded.cached),
			output = greatest(u.output, excluded.output), estimated = greatest(u.estimated, excluded.estimated), micros = greatest(u.micros, excluded.micros)
		WHERE excluded.calls > u.calls OR excluded.input > u.input OR excluded.cached > u.cached
			OR excluded.output > u.output OR excluded.estimated > u.estimated OR excluded.micros > u.micros`
	// recount computes the counters of periods that may not have ended.
	recount = `
		INSERT INTO berth_usage_counters AS c (holder_kind, holder, kind, start, used, held)
		SELECT * FROM (
			SELECT 'owner' AS holder_kind, owner AS holder, 'tokens_per_day' AS kind, day::timestamp AT TIME ZONE 'UTC' AS start, sum(input + output) AS used, 0 AS held
				FROM berth_usage WHERE day >= $1::text::date AND owner <> '' GROUP BY owner, day
			UNION ALL SELECT 'session', session_id, 'tokens_per_day', day::timestamp AT TIME ZONE 'UTC', sum(input + output), 0
				FROM berth_usage WHERE day >= $1::text::date GROUP BY session_id, day
			UNION ALL SELECT 'owner', owner, 'money_per_month', date_trunc('month', day::timestamp) AT TIME ZONE 'UTC', sum(micros), 0
				FROM berth_usage WHERE day >= $1::text::date AND owner <> '' GROUP BY owner, date_trunc('month', day::timestamp)
			UNION ALL SELECT 'session', session_id, 'money_per_month', date_trunc('month', day::timestamp) AT TIME ZONE 'UTC', sum(micros), 0
				FROM berth_usage WHERE day >= $1::text::date GROUP BY session_id, date_trunc('month', day::timestamp)
		) AS new ORDER BY holder_kind COLLATE "C", holder COLLATE "C", kind COLLATE "C", start
		ON CONFLICT (holder_kind, holder, kind, start) DO UPDATE SET used = excluded.used WHERE c.used <> excluded.used`
)

// Import implements [usage.Store]. It is one transaction; calls that end meanwhile wait for it.
func (u *Usage) Import(ctx context.Context, records []usage.Record) (changed int, err error) {
	records = distinct(records)
	// Without a time-out: the first import may be large.
	err = explain(ctx, pgx.BeginFunc(ctx, u.store.pool, func(tx pgx.Tx) error {
		changed = 0
		if _, err := tx.Exec(ctx, `LOCK TABLE berth_usage IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		for part := range slices.Chunk(records, importRows) {
			tag, err := tx.Exec(ctx, importUsage, recordColumnsOf(part)...)
			if err != nil {
				return err
			}
			changed += int(tag.RowsAffected())
		}
		if changed == 0 {
			return nil
		}
		before := usage.MoneyPerMonth.Start(usage.MoneyPerMonth.Start(time.Now()).Add(-time.Hour)) // a clock may be behind
		_, err := tx.Exec(ctx, recount, before.Format(time.DateOnly))
		return err
	}))
	if err != nil {
		return 0, err
	}
	return changed, nil
}

// distinct merges records with the same names.
func distinct(records []usage.Record) []usage.Record {
	places := map[usage.Record]int{}
	var all []usage.Record
	for _, r := range records {
		use := r.Use()
		r.Day = usage.TokensPerDay.Start(r.Day)
		name := usage.Record{Day: r.Day, Session: r.Session, Owner: r.Owner, Provider: r.Provider, Model: r.Model}
		if at, known := places[name]; known {
			use = use.Greater(all[at].Use())
			all[at].Calls, all[at].Tokens, all[at].Estimated, all[at].Micros = use.Calls, use.Tokens, use.Estimated, use.Micros
			continue
		}
		places[name] = len(all)
		all = append(all, r)
	}
	return all
}

func recordColumnsOf(records []usage.Record) []any {
	var texts [5][]string
	var numbers [6][]int64
	for _, r := range records {
		for i, text := range []string{r.Day.Format(time.DateOnly), string(r.Session), r.Owner, r.Provider, r.Model} {
			texts[i] = append(texts[i], text)
		}
		for i, n := range []int64{r.Calls, r.Tokens.Input, r.Tokens.Cached, r.Tokens.Output, r.Estimated, r.Micros} {
			numbers[i] = append(numbers[i], n)
		}
	}
	var all []any
	for _, column := range texts {
		all = append(all, column)
	}
	for _, column := range numbers {
		all = append(all, column)
	}
	return all
}
