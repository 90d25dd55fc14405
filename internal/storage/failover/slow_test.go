package failover_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"berth/internal/session"
)

// A slow database does not block calls during a replay: the local store stays active, and changes meanwhile are replayed too.
func TestReplayToSlowDatabaseDoesNotBlockCalls(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.db.set(true)
	for i := range 5 {
		h.create(session.ID(fmt.Sprint("ses-", i)))
	}
	started, release := make(chan struct{}, 100), make(chan struct{})
	h.db.failing(func(call string) (before, after bool) {
		if call == "merge" {
			started <- struct{}{}
			<-release
		}
		return false, false
	})
	<-started
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s, err := h.store.Get(ctx, "ses-0")
		if err == nil {
			s.Owner = "bob"
			_, err = h.store.Update(ctx, s, session.Unlimited)
		}
		if err == nil {
			err = h.store.Delete(ctx, "ses-1", 1)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("a call during the replay: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a call is blocked by the database")
	}
	close(release)
	h.eventually("the database is active again", func() bool { return !h.store.Status().Degraded })
	if got, ok := h.inDatabase("ses-0"); !ok || got.Owner != "bob" {
		t.Errorf("changed during the replay: got %+v, %v", got, ok)
	}
	if got, ok := h.inDatabase("ses-1"); ok {
		t.Errorf("deleted during the replay: got %+v", got)
	}
	for i := 2; i < 5; i++ {
		if _, ok := h.inDatabase(session.ID(fmt.Sprint("ses-", i))); !ok {
			t.Errorf("session %d was not replayed", i)
		}
	}
}
