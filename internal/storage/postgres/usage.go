package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/usage"
)

// Usage keeps in the database what sessions use of models. Make it with [Store.Usage].
type Usage struct {
	store *Store

	mu     sync.Mutex
	live   map[string]struct{} // holds of this process
	pruned time.Time           // when old rows were removed
}

var _ usage.Store = (*Usage)(nil)

// Usage returns the store of usage. There is one for each process.
func (s *Store) Usage() *Usage { return &Usage{store: s, live: map[string]struct{}{}} }

const (
	addCounters = `
		INSERT INTO berth_usage_counters AS c (holder_kind, holder, kind, start, used, held)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[])
			AS new (holder_kind, holder, kind, start, used, held)
		ORDER BY holder_kind COLLATE "C", holder COLLATE "C", kind COLLATE "C", start
		ON CONFLICT (holder_kind, holder, kind, start) DO UPDATE SET used = c.used + excluded.used, held = c.held + excluded.held
		RETURNING holder_kind, holder, kind, start, used, held`
	addHold = `
		INSERT INTO berth_usage_holds (id, at, session_id, owner, provider, model, input, cached, output, micros, until)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + $11 * interval '1 second')`
	addUsage = `
		INSERT INTO berth_usage AS u (day, session_id, owner, provider, model, calls, input, cached, output, estimated, micros)
		VALUES ($1::text::date, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (day, session_id, owner, provider, model) DO UPDATE SET
			calls = u.calls + excluded.calls, input = u.input + excluded.input, cached = u.cached + excluded.cached,
			output = u.output + excluded.output, estimated = u.estimated + excluded.estimated, micros = u.micros + excluded.micros`
)

// refusalError rolls a reservation back.
type refusalError struct{ refusal usage.Refusal }

func (refusalError) Error() string { return "a limit does not admit the call" }

// Reserve implements [usage.Store].
func (u *Usage) Reserve(ctx context.Context, h usage.Hold, limits []usage.Limit) (*usage.Refusal, error) {
	charges := h.Reserved(limits)
	var refused *refusalError
	err := u.store.do(ctx, func(ctx context.Context) error {
		refused = nil
		err := pgx.BeginFunc(ctx, u.store.pool, func(tx pgx.Tx) error {
			var b pgx.Batch
			var after map[usage.Key]usage.Counter
			queueCounters(&b, charges, func(all map[usage.Key]usage.Counter) { after = all })
			b.Queue(addHold, h.ID, h.At, string(h.Session), h.Owner, h.Provider, h.Model,
				h.Tokens.Input, h.Tokens.Cached, h.Tokens.Output, h.Micros, int(usage.Lease/time.Second))
			if err := tx.SendBatch(ctx, &b).Close(); err != nil {
				return err
			}
			return check(charges, after)
		})
		if errors.As(err, &refused) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return &refused.refusal, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.live[h.ID] = struct{}{}
	return nil, nil
}

// check returns the first limit that did not admit the charges, which are already in the counters.
func check(charges []usage.Charge, after map[usage.Key]usage.Counter) error {
	for _, c := range charges {
		now := after[c.Key]
		now.Used, now.Held = now.Used-c.Delta.Used, now.Held-c.Delta.Held
		if c.Limit != nil && !c.Limit.Admits(now) {
			return &refusalError{usage.Refusal{Limit: *c.Limit, Now: now}}
		}
	}
	return nil
}

// queueCounters adds charges to the counters. done is called with their values afterwards; it may be nil.
func queueCounters(b *pgx.Batch, charges []usage.Charge, done func(map[usage.Key]usage.Counter)) {
	keys := columnsOf(charges)
	var used, held []int64
	for _, c := range charges {
		used, held = append(used, c.Delta.Used), append(held, c.Delta.Held)
	}
	b.Queue(addCounters, keys.kinds, keys.names, keys.of, keys.starts, used, held).Query(func(rows pgx.Rows) error {
		all, err := readCounters(rows)
		if done != nil {
			done(all)
		}
		return err
	})
}

// keyColumns are keys, column by column.
type keyColumns struct {
	kinds, names, of []string
	starts           []time.Time
}

func columnsOf(charges []usage.Charge) (columns keyColumns) {
	for _, c := range charges {
		columns.add(c.Key)
	}
	return columns
}

func (c *keyColumns) add(k usage.Key) {
	c.kinds, c.names = append(c.kinds, string(k.Holder.Kind)), append(c.names, k.Holder.Name)
	c.of, c.starts = append(c.of, string(k.Kind)), append(c.starts, k.Start)
}

func readCounters(rows pgx.Rows) (map[usage.Key]usage.Counter, error) {
	all := map[usage.Key]usage.Counter{}
	for rows.Next() {
		var k usage.Key
		var c usage.Counter
		if err := rows.Scan(&k.Holder.Kind, &k.Holder.Name, &k.Kind, &k.Start, &c.Used, &c.Held); err != nil {
			return nil, err
		}
		k.Start = k.Start.UTC()
		all[k] = c
	}
	return all, rows.Err()
}

// Settle implements [usage.Store]. Rows are locked in the order hold, usage, counters, as by the others.
func (u *Usage) Settle(ctx context.Context, h usage.Hold, used usage.Use) error {
	err := u.store.write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var expired bool
		err := tx.QueryRow(ctx, `DELETE FROM berth_usage_holds WHERE id = $1 RETURNING expired`, h.ID).Scan(&expired)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil
		case err != nil:
			return err
		case expired:
			return count(ctx, tx, h.Record(used.Sub(h.Estimate())), h.Corrected(used))
		}
		return count(ctx, tx, h.Record(used), h.Settled(used))
	})
	if err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.live, h.ID)
	}
	return err
}

// count adds to the usage of a day, and to the counters.
func count(ctx context.Context, tx pgx.Tx, r usage.Record, charges []usage.Charge) error {
	var b pgx.Batch
	if r.Use() != (usage.Use{}) {
		b.Queue(addUsage, r.Day.Format(time.DateOnly), string(r.Session), r.Owner, r.Provider, r.Model,
			r.Calls, r.Tokens.Input, r.Tokens.Cached, r.Tokens.Output, r.Estimated, r.Micros)
	}
	queueCounters(&b, charges, nil)
	return tx.SendBatch(ctx, &b).Close()
}

// Counters implements [usage.Store].
func (u *Usage) Counters(ctx context.Context, keys []usage.Key) (all map[usage.Key]usage.Counter, err error) {
	var columns keyColumns
	for _, k := range keys {
		columns.add(k)
	}
	err = u.store.do(ctx, func(ctx context.Context) error {
		rows, err := u.store.pool.Query(ctx, `
			SELECT c.holder_kind, c.holder, c.kind, c.start, c.used, c.held FROM berth_usage_counters c
			JOIN unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS k (holder_kind, holder, kind, start)
			USING (holder_kind, holder, kind, start)`, columns.kinds, columns.names, columns.of, columns.starts)
		if err != nil {
			return err
		}
		defer rows.Close()
		all, err = readCounters(rows)
		return err
	})
	return all, err
}
