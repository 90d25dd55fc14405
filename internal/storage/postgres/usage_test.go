package postgres_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storage/postgres"
	"berth/internal/storetest"
	"berth/internal/usage"
)

func TestUsageSuite(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(t *testing.T) usage.Store { return open(t, postgrestest.Database(t)).Usage() })
}

func TestUsageSuiteBehindTransactionPooler(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	pooler := postgrestest.StartPooler(t, server, "transaction")
	storetest.RunUsage(t, func(t *testing.T) usage.Store {
		name := strings.ToLower("t" + string(session.NewID())[4:])
		server.Run("createdb", name)
		return open(t, pooler.URL(name)+"&default_query_exec_mode=simple_protocol").Usage()
	})
}

// Two processes on one database do not pass a limit together.
func TestBudgetHoldsAcrossProcesses(t *testing.T) {
	t.Parallel()
	const calls, room = 100, 20
	url := postgrestest.Database(t)
	stores := []*postgres.Usage{open(t, url).Usage(), open(t, url).Usage()}
	budgets := usage.Budgets{Owner: usage.Budget{RequestsPerMinute: calls, TokensPerDay: room * 100}}
	now := time.Now()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for i := range 2 {
		l, err := usage.NewLedger(stores[i], usage.Options{Budgets: budgets, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		for n := range calls / 2 {
			wg.Go(func() {
				r, err := l.Reserve(t.Context(), usage.Call{
					Caller: session.Caller{Session: session.ID(fmt.Sprint("ses-", n%5)), Owner: "alice"}, Provider: "p", Model: "m",
					Most: usage.Tokens{Input: 10, Output: 90},
				})
				if err == nil {
					admitted.Add(1)
					r.Settle(t.Context(), usage.Result{Tokens: usage.Tokens{Input: 10, Output: 90}})
				} else if session.CodeOf(err) != session.CodeBudget {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	page, err := stores[0].Sum(t.Context(), usage.Query{})
	if err != nil || admitted.Load() != room || page.Total.Tokens.Sum() != room*100 {
		t.Errorf("got %d calls and %+v, %v; want %d calls", admitted.Load(), page.Total, err, room)
	}
}

// A call whose process does not renew it is counted by its estimate, and corrected if it ends after all.
func TestHoldOfEndedProcessExpires(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	here, there := open(t, url).Usage(), open(t, url).Usage()
	now := time.Now().UTC().Truncate(time.Microsecond)
	h := usage.Hold{
		ID: "a", At: now, Session: "ses-a", Owner: "alice", Provider: "p", Model: "m",
		Tokens: usage.Tokens{Input: 10, Output: 90}, Micros: 7,
	}
	if _, err := here.Reserve(t.Context(), h, nil); err != nil {
		t.Fatal(err)
	}
	want := func(why string, counter usage.Counter, total usage.Use) {
		t.Helper()
		key := usage.Key{Holder: usage.Holder{Kind: usage.OwnerHolder, Name: "alice"}, Kind: usage.TokensPerDay, Start: usage.TokensPerDay.Start(now)}
		counters, err := here.Counters(t.Context(), []usage.Key{key})
		if err != nil || counters[key] != counter {
			t.Errorf("%s: got %+v, %v; want %+v", why, counters[key], err, counter)
		}
		if page, err := here.Sum(t.Context(), usage.Query{}); err != nil || page.Total != total {
			t.Errorf("%s: got %+v, %v; want %+v", why, page.Total, err, total)
		}
	}
	exec(t, url, `UPDATE berth_usage_holds SET until = now() + interval '1 second'`)
	for _, s := range []*postgres.Usage{here, there} { // the first renews it
		if err := s.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want("in progress", usage.Counter{Held: 100}, usage.Use{})
	exec(t, url, `UPDATE berth_usage_holds SET until = now() - interval '1 second'`)
	if err := there.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("expired", usage.Counter{Used: 100}, h.Estimate())
	used := usage.Use{Calls: 1, Tokens: usage.Tokens{Input: 10, Output: 5}, Micros: 2}
	for range 2 {
		if err := here.Settle(t.Context(), h, used); err != nil {
			t.Fatal(err)
		}
		want("settled late", usage.Counter{Used: 15}, used)
	}
}
