package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
	"berth/internal/usage"
)

// OpenUsage is [Open] for a store of usage.
type OpenUsage func(t *testing.T) usage.Store

// RunUsage tests the contract of [usage.Store], as [Run] does for sessions.
func RunUsage(t *testing.T, open OpenUsage) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, usage.Store)
	}{
		{"an empty store has used nothing", usageEmpty},
		{"a settlement replaces a hold by what was used", usageSettled},
		{"a hold is settled once", usageSettledOnce},
		{"a call that was refused leaves nothing", usageFailed},
		{"a limit admits no more than it has", usageLimit},
		{"a refused call changes nothing", usageRefused},
		{"requests are counted where they are limited", usageRequests},
		{"a call counts for the day and the month of its begin", usagePeriods},
		{"sums are grouped, selected and paged", usageSums},
		{"an import keeps the greater numbers, and may be repeated", usageImport},
		{"calls in a race do not pass a limit together", usageRace},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

// midday is inside of a minute, a day and a month, and today: stores may remove what is older.
func midday() time.Time {
	year, month, day := time.Now().UTC().Date()
	return time.Date(year, month, day, 12, 0, 30, 0, time.UTC)
}

var usageCalls atomic.Int64

// hold is a hold of a call of alice's session that can use 10 tokens of the prompt and 90 of the answer, and 1000 micros.
func hold() usage.Hold {
	return usage.Hold{
		ID: fmt.Sprint("hold-", usageCalls.Add(1)), At: midday(), Session: "ses-a", Owner: "alice", Provider: "openai", Model: "gpt",
		Tokens: usage.Tokens{Input: 10, Output: 90}, Micros: 1000, Prompt: 100,
	}
}

func used(input, cached, output, micros int64) usage.Use {
	return usage.Use{Calls: 1, Tokens: usage.Tokens{Input: input, Cached: cached, Output: output}, Micros: micros}
}

// tokensOf is a limit of the tokens of alice.
func tokensOf(h usage.Hold, most int64) usage.Limit {
	return usage.Limit{
		Key: usage.Key{Holder: usage.Holder{Kind: usage.OwnerHolder, Name: h.Owner}, Kind: usage.TokensPerDay, Start: usage.TokensPerDay.Start(h.At)},
		Max: most, Most: h.Tokens.Sum(), Least: h.Tokens.Input,
	}
}

func reserve(t *testing.T, s usage.Store, h usage.Hold, limits ...usage.Limit) *usage.Refusal {
	t.Helper()
	refused, err := s.Reserve(t.Context(), h, limits)
	if err != nil {
		t.Fatal(err)
	}
	return refused
}

func settle(t *testing.T, s usage.Store, h usage.Hold, u usage.Use) {
	t.Helper()
	if err := s.Settle(t.Context(), h, u); err != nil {
		t.Fatal(err)
	}
}

func wantCounter(t *testing.T, s usage.Store, key usage.Key, want usage.Counter) {
	t.Helper()
	got, err := s.Counters(t.Context(), []usage.Key{key})
	if err != nil || got[key] != want {
		t.Errorf("%s of %s: got %+v, %v; want %+v", key.Kind, key.Holder.Name, got[key], err, want)
	}
}

func wantRecords(t *testing.T, s usage.Store, want ...usage.Record) {
	t.Helper()
	got, err := s.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got)+len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func usageEmpty(t *testing.T, s usage.Store) {
	wantRecords(t, s)
	wantCounter(t, s, tokensOf(hold(), 1).Key, usage.Counter{})
	if page, err := s.Sum(t.Context(), usage.Query{}); err != nil || len(page.Rows) != 0 || page.Total != (usage.Use{}) {
		t.Errorf("sum: got %+v, %v; want nothing", page, err)
	}
	if err := s.Maintain(t.Context()); err != nil {
		t.Error(err)
	}
}

func usageSettled(t *testing.T, s usage.Store) {
	h := hold()
	h.Owner, h.Model = "ålice \"the\" ownér\t\\", "gpt/5\nmini"
	key := tokensOf(h, 1).Key
	reserve(t, s, h)
	wantCounter(t, s, key, usage.Counter{Held: 100})
	wantRecords(t, s)
	u := used(10, 4, 7, 333)
	u.Estimated = 17
	settle(t, s, h, u)
	wantCounter(t, s, key, usage.Counter{Used: 17})
	key.Kind, key.Start = usage.MoneyPerMonth, usage.MoneyPerMonth.Start(h.At)
	wantCounter(t, s, key, usage.Counter{Used: 333})
	key.Holder = usage.Holder{Kind: usage.SessionHolder, Name: "ses-a"}
	wantCounter(t, s, key, usage.Counter{Used: 333})
	wantRecords(t, s, h.Record(u))
	again := h
	again.ID += "-again"
	reserve(t, s, again)
	settle(t, s, again, u)
	wantRecords(t, s, h.Record(u.Add(u)))
}

func usageSettledOnce(t *testing.T, s usage.Store) {
	h := hold()
	settle(t, s, h, used(1, 0, 1, 1)) // was never reserved
	wantRecords(t, s)
	reserve(t, s, h)
	settle(t, s, h, used(10, 0, 7, 333))
	settle(t, s, h, used(10, 0, 7, 333))
	wantRecords(t, s, h.Record(used(10, 0, 7, 333)))
	wantCounter(t, s, tokensOf(h, 1).Key, usage.Counter{Used: 17})
}

func usageFailed(t *testing.T, s usage.Store) {
	h := hold()
	reserve(t, s, h)
	settle(t, s, h, usage.Use{})
	wantRecords(t, s)
	wantCounter(t, s, tokensOf(h, 1).Key, usage.Counter{})
}

func usageLimit(t *testing.T, s usage.Store) {
	first, second, third := hold(), hold(), hold()
	limit := tokensOf(first, 250)
	if r := reserve(t, s, first, limit); r != nil {
		t.Fatalf("the first 100 of 250 tokens: got %+v, want them", r)
	}
	if r := reserve(t, s, second, limit); r != nil {
		t.Fatalf("the second 100 of 250 tokens: got %+v, want them", r)
	}
	want := &usage.Refusal{Limit: limit, Now: usage.Counter{Held: 200}}
	if diff := cmp.Diff(want, reserve(t, s, third, limit)); diff != "" {
		t.Errorf("the third 100 of 250 tokens (-want +got):\n%s", diff)
	}
	settle(t, s, first, used(10, 0, 90, 1))
	if r := reserve(t, s, third, limit); r == nil {
		t.Error("50 tokens are left, and others are held: got 100 of them")
	}
	settle(t, s, second, used(10, 0, 90, 1))
	if r := reserve(t, s, third, limit); r != nil {
		t.Errorf("50 tokens are left, and nothing else is in progress: got %+v, want the last call", r)
	}
	settle(t, s, third, used(10, 0, 40, 1))
	want = &usage.Refusal{Limit: limit, Now: usage.Counter{Used: 250}}
	if diff := cmp.Diff(want, reserve(t, s, hold(), limit)); diff != "" {
		t.Errorf("with everything used (-want +got):\n%s", diff)
	}
}

func usageRefused(t *testing.T, s usage.Store) {
	h := hold()
	limit, other := tokensOf(h, 5), tokensOf(h, 1000)
	other.Key.Holder = usage.Holder{Kind: usage.SessionHolder, Name: string(h.Session)}
	requests := other
	requests.Key.Kind, requests.Key.Start, requests.Most, requests.Least = usage.RequestsPerMinute, usage.RequestsPerMinute.Start(h.At), 1, 1
	if r := reserve(t, s, h, limit, other, requests); r == nil || r.Limit != limit {
		t.Errorf("got %+v, want the refusal of the owner's limit", r)
	}
	wantCounter(t, s, other.Key, usage.Counter{})
	wantCounter(t, s, limit.Key, usage.Counter{})
	wantCounter(t, s, requests.Key, usage.Counter{})
	settle(t, s, h, used(1, 0, 1, 1))
	wantRecords(t, s)
}

func usageRequests(t *testing.T, s usage.Store) {
	limit := tokensOf(hold(), 2)
	limit.Key.Kind, limit.Key.Start, limit.Most, limit.Least = usage.RequestsPerMinute, usage.RequestsPerMinute.Start(midday()), 1, 1
	for i := range 3 {
		h := hold()
		refused := reserve(t, s, h, limit)
		if (refused != nil) != (i == 2) {
			t.Errorf("request %d of 2: got %+v", i+1, refused)
		}
		settle(t, s, h, usage.Use{}) // a failed request is one, too
	}
	wantCounter(t, s, limit.Key, usage.Counter{Used: 2})
	later := hold()
	later.At = later.At.Add(time.Minute)
	limit.Key.Start = limit.Key.Start.Add(time.Minute)
	if r := reserve(t, s, later, limit); r != nil {
		t.Errorf("in the next minute: got %+v, want the call", r)
	}
}

func usagePeriods(t *testing.T, s usage.Store) {
	year, month, _ := time.Now().UTC().Date()
	eve := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Add(-time.Microsecond)
	before, after := hold(), hold()
	before.At, after.At = eve, eve.Add(time.Microsecond)
	reserve(t, s, before)
	reserve(t, s, after)
	settle(t, s, before, used(1, 0, 0, 5))
	settle(t, s, after, used(2, 0, 0, 7))
	late := hold() // the clock went back
	late.At = eve
	reserve(t, s, late)
	settle(t, s, late, used(4, 0, 0, 9))
	wantRecords(t, s, before.Record(used(1, 0, 0, 5).Add(used(4, 0, 0, 9))), after.Record(used(2, 0, 0, 7)))
	wantCounter(t, s, tokensOf(before, 1).Key, usage.Counter{Used: 5})
	wantCounter(t, s, tokensOf(after, 1).Key, usage.Counter{Used: 2})
	money := func(h usage.Hold) usage.Key {
		return usage.Key{Holder: tokensOf(h, 1).Key.Holder, Kind: usage.MoneyPerMonth, Start: usage.MoneyPerMonth.Start(h.At)}
	}
	wantCounter(t, s, money(before), usage.Counter{Used: 14})
	wantCounter(t, s, money(after), usage.Counter{Used: 7})
}

func usageSums(t *testing.T, s usage.Store) {
	today := usage.TokensPerDay.Start(midday())
	record := func(days int, id session.ID, owner, model string, input int64) usage.Record {
		return usage.Record{
			Day: today.AddDate(0, 0, days), Session: id, Owner: owner, Provider: "p", Model: model, Calls: 1,
			Tokens: usage.Tokens{Input: input, Cached: 1, Output: 2}, Estimated: 3, Micros: 4,
		}
	}
	all := []usage.Record{
		record(-2, "ses-a", "alice", "x", 1), record(-1, "ses-a", "alice", "x", 10), record(-1, "ses-b", "bob", "y", 100), record(0, "ses-c", "", "x", 1000),
	}
	if n, err := s.Import(t.Context(), all); err != nil || n != len(all) {
		t.Fatalf("import: got %d, %v", n, err)
	}
	nobody := ""
	for _, test := range []struct {
		q     usage.Query
		rows  map[string]int64 // input tokens
		total int64
		more  bool
	}{
		{usage.Query{By: usage.ByOwner}, map[string]int64{"": 1000, "alice": 11, "bob": 100}, 1111, false},
		{usage.Query{By: usage.ByOwner, Limit: 2}, map[string]int64{"": 1000, "alice": 11}, 1111, true},
		{usage.Query{By: usage.ByOwner, After: &nobody}, map[string]int64{"alice": 11, "bob": 100}, 1111, false},
		{usage.Query{By: usage.BySession, Owner: "alice"}, map[string]int64{"ses-a": 11}, 11, false},
		{usage.Query{By: usage.ByModel, Session: "ses-b"}, map[string]int64{"p/y": 100}, 100, false},
		{usage.Query{By: usage.ByModel, Session: "ses-b", Owner: "alice"}, nil, 0, false},
		{
			usage.Query{By: usage.ByDay, From: today.AddDate(0, 0, -1), To: today.AddDate(0, 0, -1)},
			map[string]int64{today.AddDate(0, 0, -1).Format(time.DateOnly): 110},
			110, false,
		},
		{
			usage.Query{},
			map[string]int64{
				today.AddDate(0, 0, -2).Format(time.DateOnly): 1, today.AddDate(0, 0, -1).Format(time.DateOnly): 110, today.Format(time.DateOnly): 1000,
			},
			1111, false,
		},
	} {
		page, err := s.Sum(t.Context(), test.q)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for i, row := range page.Rows {
			got[row.Name] = row.Use.Tokens.Input
			if i > 0 && page.Rows[i-1].Name >= row.Name {
				t.Errorf("%+v: %q follows %q", test.q, row.Name, page.Rows[i-1].Name)
			}
		}
		if len(got)+len(test.rows) > 0 && !cmp.Equal(test.rows, got) || page.Total.Tokens.Input != test.total || page.More != test.more {
			t.Errorf("%+v: got %v, total %d, more %v; want %v, %d, %v", test.q, got, page.Total.Tokens.Input, page.More, test.rows, test.total, test.more)
		}
	}
}

func usageImport(t *testing.T, s usage.Store) {
	h, live := hold(), hold()
	key := tokensOf(h, 1).Key
	reserve(t, s, h)
	settle(t, s, h, used(10, 1, 5, 7))
	reserve(t, s, live)
	older, newer, other := h.Record(used(1, 0, 1, 1)), h.Record(used(20, 1, 5, 9)), h.Record(used(3, 0, 0, 1))
	newer.Calls, other.Model = 4, "other"
	for _, step := range []struct {
		records []usage.Record
		changed int
	}{{[]usage.Record{older}, 0}, {[]usage.Record{newer, other}, 2}, {[]usage.Record{newer, other}, 0}} {
		if n, err := s.Import(t.Context(), step.records); err != nil || n != step.changed {
			t.Fatalf("import: got %d, %v; want %d", n, err, step.changed)
		}
	}
	wantCounter(t, s, key, usage.Counter{Used: 28, Held: 100})
	settle(t, s, live, used(1, 0, 0, 0))
	wantCounter(t, s, key, usage.Counter{Used: 29})
	page, err := s.Sum(t.Context(), usage.Query{By: usage.ByModel})
	if err != nil || len(page.Rows) != 2 || page.Rows[0].Use != newer.Use().Add(used(1, 0, 0, 0)) || page.Rows[1].Use != other.Use() {
		t.Errorf("got %+v, %v", page, err)
	}
}

func usageRace(t *testing.T, s usage.Store) {
	const most, racers, each = 10, 8, 5
	var admitted, inProgress atomic.Int64
	var all sync.WaitGroup
	for range racers {
		all.Go(func() {
			for range each {
				h := hold()
				refused, err := s.Reserve(t.Context(), h, []usage.Limit{tokensOf(h, most*100)})
				if err != nil {
					t.Error(err)
					return
				}
				if refused != nil {
					continue
				}
				if n := inProgress.Add(100); n > most*100 {
					t.Errorf("%d tokens are used and held, want at most %d", n, most*100)
				}
				admitted.Add(1)
				if err := s.Settle(t.Context(), h, used(10, 0, 90, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if admitted.Load() != most {
		t.Errorf("%d calls were admitted, want %d", admitted.Load(), most)
	}
	wantCounter(t, s, tokensOf(hold(), 1).Key, usage.Counter{Used: most * 100})
}
