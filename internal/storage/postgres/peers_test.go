package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storage/postgres"
	"berth/internal/waittest"
)

func named(name string) func(*postgres.Options) {
	return func(o *postgres.Options) { o.Process, o.Address, o.Version = name, "127.0.0.1:1", "1.2.3" }
}

func TestPeersPartitionSessions(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	a, b := open(t, url, named("node-a")), open(t, url, named("node-b"))
	fresh := a.Peers()
	if !fresh.Alive("node-b") || !fresh.Mine("ses-1") || !fresh.UnreachableSince().Equal(time.Unix(0, 0)) {
		t.Error("before the first read: want every process alive, every session ours, and every process unreachable")
	}
	for range 2 { // after the second round each knows the other
		for _, s := range []*postgres.Store{a, b} {
			if err := s.Peers().Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	share := 0
	for i := range 1000 {
		id := session.ID(fmt.Sprint("ses-", i))
		if a.Peers().Mine(id) == b.Peers().Mine(id) {
			t.Fatalf("session %s is not assigned to exactly one of the two", id)
		}
		if a.Peers().Mine(id) {
			share++
		}
	}
	if share < 400 || share > 600 {
		t.Errorf("one of two has %d of 1000 sessions", share)
	}
	if !a.Peers().Alive("node-b") || a.Peers().Alive("node-c") || !a.Peers().UnreachableSince().IsZero() {
		t.Error("want node-b alive, node-c not, and none unreachable")
	}
	acted := time.Now()
	if !a.Peers().Unreachable(acted) {
		t.Error("want the other one unreachable before its next renewal")
	}
	b.Peers().WhilePending(func() bool { return true })
	if err := b.Peers().Join(t.Context()); err == nil {
		t.Error("a lease was renewed although changes have not reached the database")
	}
	if err := a.Peers().Join(t.Context()); err != nil || !a.Peers().Unreachable(acted) {
		t.Errorf("got %v, want the other one unreachable: it has not renewed its lease", err)
	}
	b.Peers().WhilePending(nil)
	for deadline := time.Now().Add(20 * time.Second); a.Peers().Unreachable(acted); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other one renews its lease and is still unreachable")
		}
		for _, s := range []*postgres.Store{b, a} {
			if err := s.Peers().Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The other one exits without deregistering.
	exec(t, url, `UPDATE berth_instances SET seen_at = now() - interval '11 seconds' WHERE id = 'node-b'`)
	if err := a.Peers().Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.Peers().Alive("node-b") || time.Since(a.Peers().UnreachableSince()) < 10*time.Second {
		t.Error("want node-b dead and unreachable since it was last seen")
	}
	for i := range 1000 {
		if id := session.ID(fmt.Sprint("ses-", i)); !a.Peers().Mine(id) {
			t.Fatalf("session %s is not assigned", id)
		}
	}
	list := a.Peers().List()
	if len(list) != 2 || list[0].ID != "node-a" || !list[0].Self || !list[0].Alive || list[1].Alive || list[1].Version != "1.2.3" {
		t.Errorf("got %+v", list)
	}
	exec(t, url, `UPDATE berth_instances SET seen_at = now() - interval '25 hours' WHERE id = 'node-b'`)
	if err := a.Peers().Join(t.Context()); err != nil || len(a.Peers().List()) != 1 {
		t.Errorf("after a day: got %+v, %v; want the dead one removed", a.Peers().List(), err)
	}
}

// After a restart a node has a new process name, and its earlier process is dead.
func TestEarlierStartOfNodeIsDeadWhenNextJoins(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	old, other := open(t, url, named("node-a/1")), open(t, url, named("node-b/1"))
	exec(t, url, `INSERT INTO berth_instances (id, address, hostname, version, started_at, seen_at) VALUES ('node-a', '', '', '', now(), now())`)
	join := func(stores ...*postgres.Store) {
		t.Helper()
		for _, s := range stores {
			if err := s.Peers().Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	join(old, other)
	if !other.Peers().Alive("node-a/1") || other.Peers().Alive("node-a") {
		t.Error("want the start of node-a alive, and its predecessor of an older version dead")
	}
	restarted := open(t, url, named("node-a/2"))
	if restarted.Peers().Alive("node-a/1") || restarted.Peers().Alive("node-a") || !restarted.Peers().Alive("node-b/1") {
		t.Error("before the first read: want its own predecessors dead, and no others")
	}
	join(restarted, other)
	if restarted.Peers().Alive("node-a/1") || other.Peers().Alive("node-a/1") || !other.Peers().Alive("node-a/2") {
		t.Error("want the first start dead everywhere and the second one alive")
	}
	list := other.Peers().List()
	if len(list) != 2 || !other.Peers().UnreachableSince().IsZero() {
		t.Errorf("got %+v, missing since %s; want two nodes and none missing", list, other.Peers().UnreachableSince())
	}
	// A copied node: the later start counts as alive also for the earlier one, which is still running.
	join(old, restarted, old)
	if !old.Peers().Alive("node-a/2") || restarted.Peers().Alive("node-a/1") {
		t.Error("of two processes under one name: want the later start alive for both")
	}
}

func TestExitedPeerIsReportedInTime(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	a, b := open(t, url, named("node-a/1")), open(t, url, named("node-b/1"))
	if err := b.Peers().Join(t.Context()); err != nil { // and never again
		t.Fatal(err)
	}
	died := time.Now()
	changed := make(chan time.Time, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = a.Peers().Run(ctx, func() { changed <- time.Now() }) })
	for a.Peers().Alive("node-b/1") {
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("the exit of node-b was not reported within 20 s")
		}
	}
	if took := time.Since(died); took > 15*time.Second {
		t.Errorf("reported after %s, want 15 s at most", took)
	}
}

func TestPeerDeregisters(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	a, b := open(t, url, named("node-a")), open(t, url, named("node-b"))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Peers().Run(ctx, nil) })
	waittest.Until(t, "the database and its clients are as wanted", func() error {
		if err := a.Peers().Join(t.Context()); err != nil || len(a.Peers().List()) != 2 {
			return errors.Join(err, fmt.Errorf("%+v", a.Peers().List()))
		}
		return nil
	})
	cancel()
	wg.Wait()
	if err := a.Peers().Join(t.Context()); err != nil || len(a.Peers().List()) != 1 || !a.Peers().UnreachableSince().IsZero() {
		t.Errorf("after deregistering: got %+v, %v; want none unreachable", a.Peers().List(), err)
	}
}

// Watch calls changed for each change, and missed after a reconnect.
func TestWatchReportsChangesAndReconnects(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	s, other := open(t, url), open(t, url)
	var mu sync.Mutex
	missed, heard := 0, map[session.ID]int{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(ctx, func() { mu.Lock(); missed++; mu.Unlock() }, func(id session.ID) { mu.Lock(); heard[id]++; mu.Unlock() })
	}()
	want := func(why string, m int, id session.ID, n int) {
		t.Helper()
		waittest.Until(t, "the database and its clients are as wanted", func() error {
			mu.Lock()
			defer mu.Unlock()
			if missed != m || heard[id] != n {
				return fmt.Errorf("%s: missed %d times, changed %v; want %d and %s %d times", why, missed, heard, m, id, n)
			}
			return nil
		})
	}
	want("at the beginning", 1, "", 0)
	v := create(t, other, stopped("ses-a"))
	v, err := other.Update(t.Context(), v, session.Unlimited)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Touch(t.Context(), map[session.ID]time.Time{"ses-a": time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := other.Delete(t.Context(), "ses-a", v.Revision); err != nil {
		t.Fatal(err)
	}
	want("create, update and delete", 1, "ses-a", 3)
	exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
	want("after the connection was lost", 2, "ses-a", 3)
	create(t, other, stopped("ses-b"))
	want("a change on the new connection", 2, "ses-b", 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// Two Berths on a state directory and its copy are two starts of one node.
func TestAdmitRejectsCopiedStateDirectory(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	in := func(process, directory string) *postgres.Peers {
		return open(t, url, func(o *postgres.Options) { o.Process, o.Directory = process, directory }).Peers()
	}
	admitted := func(p *postgres.Peers, want bool, what string) (took time.Duration) {
		t.Helper()
		begun := time.Now()
		if err := p.Admit(t.Context()); want && err != nil || !want && session.CodeOf(err) != session.CodeConflict {
			t.Errorf("%s: got %v", what, err)
		}
		return time.Since(begun)
	}
	original := in("node-a/1", "directory:boot/1/1")
	admitted(original, true, "the first")
	ctx, stopRenewals := context.WithCancel(t.Context())
	defer stopRenewals()
	joined, dead := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(dead)
		for first := true; ctx.Err() == nil; first = false {
			_ = original.Join(ctx)
			if first {
				close(joined)
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	<-joined
	admitted(in("node-a/2", "directory:boot/1/2"), false, "a copy")
	admitted(in("node-b/1", "directory:boot/1/2"), true, "a copy with a node of its own")
	stopRenewals() // without a good-bye
	<-dead
	if took := admitted(in("node-a/3", "directory:boot/1/1"), true, "the next start in the same directory"); took > 2*time.Second {
		t.Errorf("the next start in the same directory waited for %s", took)
	}
	admitted(in("node-a/4", "directory:another boot/1/1"), true, "the next start after the machine was restarted")
}
