package jsonfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/session"
	"berth/internal/storetest"
	"berth/internal/usage"
)

func openUsage(t *testing.T, dir string, opts UsageOptions) *Usage {
	t.Helper()
	s, err := OpenUsage(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestUsageSuite(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(t *testing.T) usage.Store {
		return openUsage(t, filepath.Join(t.TempDir(), "usage"), UsageOptions{})
	})
}

func TestUsageLedger(t *testing.T) {
	t.Parallel()
	s := openUsage(t, filepath.Join(t.TempDir(), "usage"), UsageOptions{})
	storetest.UsageLedger(t, func(*testing.T) usage.Store { return s })
}

func call(id string, at time.Time) usage.Hold {
	return usage.Hold{
		ID: id, At: at, Session: "ses-a", Owner: "alice", Provider: "p", Model: "m", Tokens: usage.Tokens{Input: 10, Output: 90}, Micros: 7,
	}
}

func usedTokens(tokens int64) usage.Use {
	return usage.Use{Calls: 1, Tokens: usage.Tokens{Input: tokens}}
}

func mustReserve(t *testing.T, s usage.Store, h usage.Hold) {
	t.Helper()
	if refused, err := s.Reserve(t.Context(), h, nil); err != nil || refused != nil {
		t.Fatalf("reserve: got %+v, %v", refused, err)
	}
}

func usedBy(t *testing.T, s usage.Store, at time.Time) usage.Counter {
	t.Helper()
	key := usage.Key{Holder: usage.Holder{Kind: usage.OwnerHolder, Name: "alice"}, Kind: usage.TokensPerDay, Start: usage.TokensPerDay.Start(at)}
	all, err := s.Counters(t.Context(), []usage.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	return all[key]
}

// The files as a killed process leaves them are those that it has written so far.
func TestUsageOfKilledProcessIsCountedByEstimate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	opts := UsageOptions{Now: func() time.Time { return now }}
	dir := filepath.Join(t.TempDir(), "usage")
	s := openUsage(t, dir, opts)
	ended, running := call("ended", now), call("running", now)
	mustReserve(t, s, ended)
	mustReserve(t, s, running)
	if err := s.Settle(t.Context(), ended, usedTokens(5)); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(t.TempDir(), "usage")
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	torn, err := os.OpenFile(filepath.Join(left, "2026-11-30.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := torn.WriteString("\x00\x00\n" + `{"end":"running","inp`); err != nil {
		t.Fatal(err)
	}
	torn.Close()
	for range 2 { // also after another restart
		after, err := OpenUsage(left, opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := usedBy(t, after, now); got != (usage.Counter{Used: 105}) {
			t.Errorf("got %+v, want the 5 tokens of the call that ended and the 100 of the other", got)
		}
		page, err := after.Sum(t.Context(), usage.Query{})
		if want := usedTokens(5).Add(running.Estimate()); err != nil || page.Total != want {
			t.Errorf("got %+v, %v; want %+v", page.Total, err, want)
		}
		mustReserve(t, after, call("next", now))
		if err := errors.Join(after.Settle(t.Context(), call("next", now), usage.Use{}), after.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedUsageIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "usage")
	now := time.Now().UTC()
	s := openUsage(t, dir, UsageOptions{})
	mustReserve(t, s, call("a", now))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, now.Format(time.DateOnly)+".jsonl")
	if err := os.WriteFile(path, []byte("garbage\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenUsage(dir, UsageOptions{}); session.CodeOf(err) != session.CodeStoreUnavailable || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestFullDiskRefusesCallsAndLosesNone(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "1m")
	now := time.Now().UTC()
	s := openUsage(t, filepath.Join(disk, "usage"), UsageOptions{})
	l, err := usage.NewLedger(s, usage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := l.Reserve(t.Context(), usage.Call{Caller: session.Caller{Session: "ses-a", Owner: "alice"}, Most: usage.Tokens{Output: 100}})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(disk, "filler"))
	refused := false
	for range 100 { // until the last block of the file is full
		r, err := l.Reserve(t.Context(), usage.Call{Caller: session.Caller{Session: "ses-a", Owner: "alice"}})
		if refused = session.CodeOf(err) == session.CodeStoreUnavailable; refused {
			if !strings.Contains(session.MessageOf(err), "full") {
				t.Errorf("got %v, want that the disk is full", err)
			}
			break
		} else if err != nil {
			t.Fatal(err)
		}
		r.Settle(t.Context(), usage.Result{Failed: true})
	}
	if !refused {
		t.Fatal("calls were admitted on a full disk")
	}
	first.Settle(t.Context(), usage.Result{Tokens: usage.Tokens{Output: 42}})
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := usedBy(t, s, now); got != (usage.Counter{Used: 42}) {
		t.Errorf("got %+v, want the 42 tokens", got)
	}
}

// A year of many sessions is a question of seconds, and a day's file is as long as its records.
func TestUsageStaysSmall(t *testing.T) {
	t.Parallel()
	const sessions, models, days = 200, 10, 20
	dir := filepath.Join(t.TempDir(), "usage")
	s := openUsage(t, dir, UsageOptions{})
	today := usage.TokensPerDay.Start(time.Now())
	var all []usage.Record
	for day := range days {
		for id := range sessions {
			for model := range models {
				all = append(all, usage.Record{
					Day: today.AddDate(0, 0, -day), Session: session.ID(fmt.Sprintf("ses-%016d", id)), Owner: fmt.Sprint("owner-", id%100), Provider: "p",
					Model: fmt.Sprint("model-", model), Calls: 12, Tokens: usage.Tokens{Input: 123_456, Cached: 100_000, Output: 7890}, Micros: 12_345,
				})
			}
		}
	}
	if _, err := s.Import(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	var size int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	began := time.Now()
	page, err := s.Sum(t.Context(), usage.Query{By: usage.ByOwner})
	took := time.Since(began)
	if err != nil || len(page.Rows) != 100 || page.Total.Calls != 12*int64(len(all)) {
		t.Errorf("got %d rows, %+v, %v", len(page.Rows), page.Total, err)
	}
	t.Logf("%d records: %d bytes each, a sum took %v", len(all), size/int64(len(all)), took)
	if size > 250*int64(len(all)) {
		t.Errorf("%d records take %d bytes", len(all), size)
	}
	busy := call("busy", today)
	for i := range 20_000 {
		busy.ID = fmt.Sprint(i)
		mustReserve(t, s, busy)
		if _, _, err := s.settle(t.Context(), busy, usedTokens(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.path(today)); err != nil || info.Size() > 250*(sessions*models+1) {
		t.Errorf("a day's file with %d records was not compacted: %v, %v", sessions*models+1, info.Size(), err)
	}
	if got := usedBy(t, s, today); got != (usage.Counter{Used: 20_000}) {
		t.Errorf("got %+v, want one token of each call", got)
	}
}

func TestOldestDaysOfUsageAreRemoved(t *testing.T) {
	t.Parallel()
	s := openUsage(t, filepath.Join(t.TempDir(), "usage"), UsageOptions{})
	today := usage.TokensPerDay.Start(time.Now())
	var all []usage.Record
	for day := range usage.KeepDays + 2 {
		all = append(all, call("", today.AddDate(0, 0, -day)).Record(usedTokens(1)))
	}
	if _, err := s.Import(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if err := s.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.Records(t.Context())
	if err != nil || len(got) != usage.KeepDays || !got[len(got)-1].Day.Equal(today) {
		t.Errorf("got %d days, %v; want the newest %d", len(got), err, usage.KeepDays)
	}
}
