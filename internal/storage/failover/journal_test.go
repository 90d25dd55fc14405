package failover_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/session"
)

// A replayed journal that cannot be removed is never replayed again.
func TestJournalThatCannotBeRemovedIsNotReplayed(t *testing.T) {
	t.Parallel()
	for _, failures := range []int64{1, 1 << 60} {
		for _, killed := range []string{"no", "and the database answers at the start", "and the database is unavailable at the start"} {
			t.Run(fmt.Sprintf("%d failures, the process is killed: %s", failures, killed), func(t *testing.T) {
				t.Parallel()
				h := newFixture(t)
				token := func(s session.Session, digest string) {
					s.Token.Digest, s.Token.RotatedAt = digest, time.Now().UTC().Truncate(time.Microsecond)
					h.update(s)
				}
				rotated := h.create("ses-rotated")
				deleted := h.create("ses-deleted")
				h.db.set(true)
				token(rotated, "second")
				deleted.Owner = "bob"
				deleted = h.update(deleted)
				h.create("ses-during")

				var tries atomic.Int64
				fails := func() error {
					if tries.Add(1) > failures {
						return nil
					}
					return errors.New("the file cannot be removed")
				}
				h.dropFails.Store(&fails)
				h.recover()
				if tries.Load() == 0 {
					t.Fatal("the removal of the journal was not tried: this test tests nothing")
				}
				current, err := h.store.Get(t.Context(), "ses-rotated")
				if err != nil {
					t.Fatal(err)
				}
				token(current, "third")
				if err := h.store.Delete(t.Context(), "ses-deleted", deleted.Revision); err != nil {
					t.Fatal(err)
				}
				h.create("ses-since")
				if killed != "no" {
					h.eventually("the copy is written", func() bool {
						s, err := h.base.Get(t.Context(), "ses-rotated")
						_, since := h.base.Get(t.Context(), "ses-since")
						return err == nil && since == nil && s.Token.Digest == "third"
					})
					h.crash()
					h.db.set(killed == "and the database is unavailable at the start")
					h.start()
				}
				h.db.set(true)
				h.eventually("without the database", func() bool { return h.store.Status().Degraded })
				if n := h.store.Status().Pending; n != 0 {
					t.Errorf("%d changes are pending, want none: all had been replayed", n)
				}
				since, err := h.store.Get(t.Context(), "ses-since")
				if err != nil {
					t.Fatalf("the session that was created since: %v", err)
				}
				since.Owner = "eve"
				h.update(since)
				h.recover()
				if got, _ := h.inDatabase("ses-rotated"); got.Token.Digest != "third" {
					t.Errorf("the token is %q, want the third and last one", got.Token.Digest)
				}
				if got, ok := h.inDatabase("ses-since"); !ok || got.Owner != "eve" {
					t.Errorf("the session that was created since: got %+v, %v; want its last change", got, ok)
				}
				if got, ok := h.inDatabase("ses-deleted"); ok {
					t.Errorf("the session that was deleted since exists: %+v", got)
				}
				if _, ok := h.inDatabase("ses-during"); !ok {
					t.Error("the session that was created during the first outage is missing")
				}
			})
		}
	}
}

// A journal that cannot be retired keeps the store degraded, and loses no change.
func TestJournalThatCannotBeRetiredKeepsStoreDegraded(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s := h.create("ses-a")
	h.db.set(true)
	s.Owner = "bob"
	s = h.update(s)
	fails := func() error { return errors.New("no space left on device") }
	h.journalFails.Store(&fails)
	h.db.set(false)
	h.eventually("the change is in the database", func() bool {
		got, ok := h.inDatabase("ses-a")
		return ok && got.Owner == "bob"
	})
	if !h.store.Status().Degraded {
		t.Error("the store is not degraded although its journal is live")
	}
	s.Owner = "eve"
	h.update(s)
	h.create("ses-b")
	h.crash()
	h.start()
	h.journalFails.Store(nil)
	h.recover()
	if got, _ := h.inDatabase("ses-a"); got.Owner != "eve" {
		t.Errorf("got the owner %q, want the last one", got.Owner)
	}
	if _, ok := h.inDatabase("ses-b"); !ok {
		t.Error("the session that was created meanwhile is missing")
	}
}

// A write of the copy completes during a shutdown, so that the next process has the known sessions.
func TestShutdownCompletesWriteOfCopy(t *testing.T) {
	t.Parallel()
	h := &fixture{t: t, dir: t.TempDir(), db: newDatabase(t), copyGate: make(chan struct{}, 8)}
	h.start()
	t.Cleanup(h.crash)
	h.create("ses-a")
	h.eventually("the copy is being written", func() bool { return h.copyWrites.Load() > 0 })
	h.stop()
	for range cap(h.copyGate) {
		h.copyGate <- struct{}{}
	}
	<-h.done
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.crash()
	h.db.set(true)
	h.copyGate = nil
	h.start()
	if _, err := h.store.Get(t.Context(), "ses-a"); err != nil {
		t.Errorf("what was known before the shutdown: %v", err)
	}
}

// A session that was created here, replayed, and deleted by others is not recreated after an interrupted replay.
func TestSessionDeletedDuringInterruptedReplayStaysDeleted(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.db.set(true)
	made := h.create("ses-a")
	merged := make(chan struct{})
	var once atomic.Bool
	h.db.failing(func(call string) (before, after bool) {
		switch {
		case call == "ping":
			return false, false
		case call == "merge" && once.CompareAndSwap(false, true):
			close(merged)
			return false, true // applied, with a lost response
		}
		return true, false
	})
	<-merged
	h.eventually("the session is in the database", func() bool { _, ok := h.inDatabase("ses-a"); return ok })
	h.crash()
	h.db.set(true)
	h.start()
	if err := h.store.Touch(context.WithoutCancel(t.Context()), map[session.ID]time.Time{"ses-a": time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := h.db.Store.Delete(t.Context(), "ses-a", made.Revision); err != nil {
		t.Fatal(err)
	}
	h.recover()
	if got, ok := h.inDatabase("ses-a"); ok {
		t.Errorf("a session that others have deleted is recreated: %+v", got)
	}
}
