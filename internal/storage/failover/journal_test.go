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

// A journal that has flowed back and cannot be removed says nothing any more, whatever happens next.
func TestJournalThatCannotBeRemovedIsNotReplayed(t *testing.T) {
	t.Parallel()
	for _, failures := range []int64{1, 1 << 60} {
		for _, dies := range []string{"no", "and the database answers at the start", "and the database is unavailable at the start"} {
			t.Run(fmt.Sprintf("%d failures, the process dies: %s", failures, dies), func(t *testing.T) {
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
				h.back()
				if tries.Load() == 0 {
					t.Fatal("the journal was not to be removed, so that this test shows nothing")
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
				if dies != "no" {
					h.eventually("the copy is written", func() bool {
						s, err := h.base.Get(t.Context(), "ses-rotated")
						_, since := h.base.Get(t.Context(), "ses-since")
						return err == nil && since == nil && s.Token.Digest == "third"
					})
					h.crash()
					h.db.set(dies == "and the database is unavailable at the start")
					h.start()
				}
				h.db.set(true)
				h.eventually("without the database", func() bool { return h.store.Status().Degraded })
				if n := h.store.Status().Pending; n != 0 {
					t.Errorf("%d changes are pending, want none: everything had flowed back", n)
				}
				since, err := h.store.Get(t.Context(), "ses-since")
				if err != nil {
					t.Fatalf("the session that was created since: %v", err)
				}
				since.Owner = "eve"
				h.update(since)
				h.back()
				if got, _ := h.inDatabase("ses-rotated"); got.Token.Digest != "third" {
					t.Errorf("the token is %q, want the third and last one", got.Token.Digest)
				}
				if got, ok := h.inDatabase("ses-since"); !ok || got.Owner != "eve" {
					t.Errorf("the session that was created since: got %+v, %v; want it with its last change", got, ok)
				}
				if got, ok := h.inDatabase("ses-deleted"); ok {
					t.Errorf("the session that was deleted since is there: %+v", got)
				}
				if _, ok := h.inDatabase("ses-during"); !ok {
					t.Error("the session that was created during the first outage is not there")
				}
			})
		}
	}
}

// A journal that cannot even be marked as done keeps the store degraded, and loses nothing.
func TestJournalThatCannotBeEndedKeepsTheStoreDegraded(t *testing.T) {
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
	h.back()
	if got, _ := h.inDatabase("ses-a"); got.Owner != "eve" {
		t.Errorf("got the owner %q, want the last one", got.Owner)
	}
	if _, ok := h.inDatabase("ses-b"); !ok {
		t.Error("the session that was created meanwhile is not there")
	}
}

// A shutdown in the middle of a write of the copy does not keep what was learnt from the next process.
func TestShutdownDuringAWriteOfTheCopy(t *testing.T) {
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

// A session that was made here, brought back, and deleted by others does not return because its flow back was cut short.
func TestSessionDeletedByOthersDuringAnInterruptedFlowBackStaysDeleted(t *testing.T) {
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
			return false, true // it has worked, and its answer is lost
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
	h.back()
	if got, ok := h.inDatabase("ses-a"); ok {
		t.Errorf("a session that others have deleted is back: %+v", got)
	}
}
