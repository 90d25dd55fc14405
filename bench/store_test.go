package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storage/postgres"
)

// callers is how many goroutines use the store concurrently.
const callers = 8

// BenchmarkStore compares the store in PostgreSQL with pgx alone and the same statements: creates with a limit, gets, and touches
// of a hundred sessions. Each iteration does a round on both sides, in alternating order.
//
//	go test -run '^$' -bench Store -benchtime 20x ./bench
func BenchmarkStore(b *testing.B) {
	url := postgrestest.Start(b).URL("postgres")
	store, err := postgres.Open(postgres.Options{URL: session.Secret(url), MaxConnections: callers, Process: "bench"})
	must(b, err)
	b.Cleanup(store.Close)
	must(b, store.Prepare(b.Context()))
	pool, err := pgxpool.New(b.Context(), url+fmt.Sprintf("&pool_max_conns=%d", callers))
	must(b, err)
	b.Cleanup(pool.Close)

	known := make([]session.ID, 1000)
	for i := range known {
		known[i] = session.NewID()
		_, err := store.Create(b.Context(), record(known[i]), session.Quota{})
		must(b, err)
	}
	for _, work := range []struct {
		name        string
		calls       int
		berth, bare func(ctx context.Context, i int) error
	}{
		{
			"create", 400,
			func(ctx context.Context, _ int) error {
				_, err := store.Create(ctx, record(session.NewID()), session.Quota{Running: 10_000_000})
				return err
			},
			func(ctx context.Context, _ int) error { return bareStoreCreate(ctx, pool) },
		},
		{
			"get", 2000,
			func(ctx context.Context, i int) error { _, err := store.Get(ctx, known[i%len(known)]); return err },
			func(ctx context.Context, i int) error { return bareGet(ctx, pool, known[i%len(known)]) },
		},
		{
			"touch", 50,
			func(ctx context.Context, i int) error {
				at := map[session.ID]time.Time{}
				for k := range 100 {
					at[known[(i*100+k)%len(known)]] = time.Now()
				}
				return store.Touch(ctx, at)
			},
			func(ctx context.Context, i int) error { return bareTouch(ctx, pool, known, i) },
		},
	} {
		b.Run(work.name, func(b *testing.B) {
			sides := map[string][]time.Duration{}
			order := []string{"bare", "berth"}
			for b.Loop() {
				for _, side := range order {
					call := work.bare
					if side == "berth" {
						call = work.berth
					}
					sides[side] = append(sides[side], spread(b, work.calls, call))
				}
				order[0], order[1] = order[1], order[0]
			}
			bare, berth := median(sides["bare"]), median(sides["berth"])
			b.ReportMetric(float64(work.calls)/bare.Seconds(), "bare/s")
			b.ReportMetric(float64(work.calls)/berth.Seconds(), "berth/s")
			b.ReportMetric(bare.Seconds()/berth.Seconds(), "berth/bare")
		})
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// spread distributes the calls over all callers and returns the total time.
func spread(b *testing.B, calls int, call func(context.Context, int) error) time.Duration {
	b.Helper()
	begun := time.Now()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < calls; i += callers {
				if err := call(b.Context(), i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun)
}

func record(id session.ID) session.Session {
	now := time.Now().UTC()
	return session.Session{
		ID: id, Owner: "bench", Profile: "opencode", Image: "berth/opencode:1", ContainerName: "berth-" + string(id), Status: session.Creating,
		CreatedAt: now, LastAccessed: now, Operation: &session.Operation{Kind: session.OpCreate, Owner: "bench", Deadline: now.Add(time.Minute)},
		Metadata: map[string]any{"team": "red"},
	}
}

const benchOccupying = `(status IN ('creating', 'running') OR operation IN ('create', 'start', 'restart', 'upgrade'))`

func bareStoreCreate(ctx context.Context, pool *pgxpool.Pool) error {
	s := record(session.NewID())
	metadata, err := json.Marshal(s.Metadata)
	if err != nil {
		return err
	}
	var batch pgx.Batch
	batch.Queue(`SELECT pg_advisory_xact_lock(1)`)
	batch.Queue(`INSERT INTO sessions (session_id, owner, profile, image, container_name, status, created_at, last_accessed, operation,
		operation_owner, operation_deadline, metadata, revision)
		SELECT $1::varchar, $2::varchar, $3::varchar, $4::varchar, $5::varchar, $6::varchar, $7::timestamptz, $8::timestamptz, $9::varchar,
		$10::varchar, $11::timestamptz, $12::jsonb, 1
		WHERE (SELECT count(*) FROM sessions WHERE `+benchOccupying+`) < $13 ON CONFLICT (session_id) DO NOTHING`,
		string(s.ID), s.Owner, s.Profile, s.Image, s.ContainerName, string(s.Status), s.CreatedAt, s.LastAccessed,
		string(s.Operation.Kind), s.Operation.Owner, s.Operation.Deadline, metadata, session.Quota{Running: 10_000_000})
	return pool.SendBatch(ctx, &batch).Close()
}

func bareGet(ctx context.Context, pool *pgxpool.Pool, id session.ID) error {
	rows, err := pool.Query(ctx, `SELECT * FROM sessions WHERE session_id = $1`, string(id))
	if err != nil {
		return err
	}
	_, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	return err
}

func bareTouch(ctx context.Context, pool *pgxpool.Pool, known []session.ID, i int) error {
	ids, times := make([]string, 100), make([]time.Time, 100)
	for k := range ids {
		ids[k], times[k] = string(known[(i*100+k)%len(known)]), time.Now()
	}
	_, err := pool.Exec(ctx, `
		WITH active AS (
			SELECT s.session_id, a.at FROM sessions s JOIN unnest($1::text[], $2::timestamptz[]) a (id, at) ON s.session_id = a.id
			WHERE s.last_accessed < a.at ORDER BY s.session_id FOR UPDATE OF s
		)
		UPDATE sessions s SET last_accessed = a.at FROM active a WHERE s.session_id = a.session_id AND s.last_accessed < a.at`, ids, times)
	return err
}
