package failover_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/session"
	"berth/internal/storetest"
)

func TestStoreSuiteWithDatabase(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) session.Store { return newFixture(t).store })
}

func TestStoreSuiteWithoutDatabase(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) session.Store {
		h := newFixture(t)
		h.db.set(true)
		h.eventually("without the database", func() bool { return h.store.Status().Degraded })
		return h.store
	})
}

func TestStoreModelWithDatabaseOutages(t *testing.T) {
	t.Parallel()
	storetest.Model(t, func(t *testing.T) session.Store {
		h := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for off := true; ctx.Err() == nil; off = !off {
				<-time.After(time.Duration(rand.IntN(30)) * time.Millisecond)
				h.db.set(off)
				for ctx.Err() == nil && h.store.Status().Degraded != off { // a short outage fails the call only
					<-time.After(time.Millisecond)
				}
			}
		})
		t.Cleanup(func() { cancel(); wg.Wait() })
		return h.store
	})
}

// All kinds of changes without the database are replayed.
func TestOfflineChangesAreReplayed(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	kept, changed, deleted, touched := h.create("ses-kept"), h.create("ses-changed"), h.create("ses-deleted"), h.create("ses-touched")
	h.db.set(true)
	h.create("ses-new")
	changed.Status, changed.LastError = session.Error, "it fell over"
	changed = h.update(changed)
	changed.Token.Digest, changed.Token.RotatedAt = "second", time.Now().UTC().Truncate(time.Microsecond)
	h.update(changed)
	if err := h.store.Delete(t.Context(), "ses-deleted", deleted.Revision); err != nil {
		t.Fatal(err)
	}
	at := touched.LastAccessed.Add(time.Hour)
	if err := h.store.Touch(t.Context(), map[session.ID]time.Time{"ses-touched": at}); err != nil {
		t.Fatal(err)
	}
	if st := h.store.Status(); !st.Degraded || st.Pending != 3 || st.Reason != "the database cannot be reached" || st.Since.IsZero() {
		t.Errorf("got %+v, want three pending changes and the reason", st)
	}
	h.recover()
	if got, ok := h.inDatabase("ses-kept"); !ok || got.Revision != kept.Revision {
		t.Errorf("what was not changed: got %+v", got)
	}
	if _, ok := h.inDatabase("ses-new"); !ok {
		t.Error("the new session is not in the database")
	}
	if got, _ := h.inDatabase("ses-changed"); got.Status != session.Error || got.Token.Digest != "second" {
		t.Errorf("what was changed: got %+v", got)
	}
	if _, ok := h.inDatabase("ses-deleted"); ok {
		t.Error("the deleted session is in the database")
	}
	if got, _ := h.inDatabase("ses-touched"); !got.LastAccessed.Equal(at) || got.Revision != touched.Revision {
		t.Errorf("activity: got %+v", got)
	}
	if st := h.store.Status(); st.LastFlow.IsZero() || st.Pending != 0 {
		t.Errorf("got %+v", st)
	}
}

// Changes of other instances are merged and not overwritten.
func TestReplayMergesChangesOfOtherInstances(t *testing.T) {
	t.Parallel()
	early, late := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 2, 2, 0, 0, 0, 0, time.UTC)
	token := func(digest string, at time.Time) func(*session.Session) {
		return func(s *session.Session) { s.Token.Digest, s.Token.RotatedAt = digest, at }
	}
	graced := func(digest string, at time.Time) func(*session.Session) {
		return func(s *session.Session) {
			token(digest, at)(s)
			s.Token.PreviousDigest, s.Token.PreviousExpiresAt = "before "+digest, at.Add(time.Minute)
		}
	}
	status := func(to session.Status, why string) func(*session.Session) {
		return func(s *session.Session) { s.Status, s.LastError = to, why }
	}
	did := func(what session.EventType, by string, at time.Time, to session.Status) func(*session.Session) {
		return func(s *session.Session) {
			s.Status = to
			s.Timeline = append(s.Timeline, session.Event{At: at, Type: what, By: by})
		}
	}
	is := func(want session.Status) func(session.Session) bool {
		return func(s session.Session) bool { return s.Status == want }
	}
	for _, test := range []struct {
		name         string
		mine, theirs func(*session.Session)
		want         func(session.Session) bool
	}{
		{
			"a requested stop and a later automatic restart", did(session.EventStopped, "operator", early, session.Stopped),
			did(session.EventRestarted, "berth", late, session.Running), is(session.Stopped),
		},
		{
			"an automatic restart and a requested stop", did(session.EventRestarted, "berth", late, session.Running),
			did(session.EventStopped, "user", early, session.Stopped), is(session.Stopped),
		},
		{
			"a requested start and an idle stop", did(session.EventReady, "user", early, session.Running),
			did(session.EventStopped, "berth", late, session.Stopped), is(session.Running),
		},
		{
			"two requests, mine later", did(session.EventStopped, "operator", late, session.Stopped),
			did(session.EventRestarted, "user", early, session.Running), is(session.Stopped),
		},
		{
			"two requests, theirs later", did(session.EventStopped, "operator", early, session.Stopped),
			did(session.EventRestarted, "user", late, session.Running), is(session.Running),
		},
		{
			"a stop and a new token", did(session.EventStopped, "operator", early, session.Stopped),
			did(session.EventRotated, "user", late, session.Running), is(session.Stopped),
		},
		{"different groups", token("mine", early), status(session.Error, "theirs"), func(s session.Session) bool {
			return s.Token.Digest == "mine" && s.LastError == "theirs"
		}},
		{"the same", status(session.Error, "mine"), status(session.Error, "theirs"), func(s session.Session) bool { return s.LastError == "theirs" }},
		{"the later token is mine", token("mine", late), token("theirs", early), func(s session.Session) bool { return s.Token.Digest == "mine" }},
		{"the later token is theirs", token("mine", early), token("theirs", late), func(s session.Session) bool { return s.Token.Digest == "theirs" }},
		{"the later token is mine, with the previous one in its grace period", graced("mine", late), token("theirs", early), func(s session.Session) bool {
			return s.Token.Digest == "mine" && s.Token.PreviousDigest == "before mine" && s.Token.PreviousExpiresAt.Equal(late.Add(time.Minute))
		}},
		{"the later token is theirs, without a grace period", graced("mine", early), token("theirs", late), func(s session.Session) bool {
			return s.Token.Digest == "theirs" && s.Token.PreviousDigest == "" && s.Token.PreviousExpiresAt.IsZero()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newFixture(t)
			s := h.create("ses-a")
			h.db.set(true)
			test.mine(&s)
			h.update(s)
			for range 5 {
				h.changeByOther("ses-a", test.theirs)
			}
			h.recover()
			if got, ok := h.inDatabase("ses-a"); !ok || !test.want(got) || got.Revision < 6 {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("deleted by others", func(t *testing.T) {
		t.Parallel()
		h := newFixture(t)
		s := h.create("ses-a")
		h.db.set(true)
		s.Owner = "bob"
		h.update(s)
		if err := h.db.Store.Delete(t.Context(), "ses-a", 1); err != nil {
			t.Fatal(err)
		}
		h.recover()
		if got, ok := h.inDatabase("ses-a"); ok {
			t.Errorf("a session that others have deleted is recreated: %+v", got)
		}
	})
}

// The database made a change and failed before the response. The change is not made twice.
func TestChangeWithLostResponseIsAppliedOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.create("ses-changed")
	h.create("ses-deleted")
	first := func(lost string) func(string) (bool, bool) {
		var done atomic.Bool
		return func(call string) (before, after bool) {
			if done.Load() {
				return true, false
			}
			if call == lost {
				done.Store(true)
				return false, true
			}
			return false, false
		}
	}
	h.db.failing(first("create"))
	h.create("ses-new")
	fresh, err := h.store.Get(t.Context(), "ses-new")
	if err != nil {
		t.Fatal(err)
	}
	fresh.Token.Digest, fresh.Token.RotatedAt = "second", time.Now().UTC()
	h.update(fresh)
	h.recover()
	if got, ok := h.inDatabase("ses-new"); !ok || got.Token.Digest != "second" {
		t.Errorf("a create with a lost response, changed since: got %+v, want the change", got)
	}

	changed, _ := h.inDatabase("ses-changed")
	h.db.failing(first("update"))
	changed.Owner = "bob"
	if got := h.update(changed); got.Owner != "bob" {
		t.Errorf("got %+v", got)
	}
	h.recover()
	if got, _ := h.inDatabase("ses-changed"); got.Owner != "bob" {
		t.Errorf("an update with a lost response: got %+v", got)
	}

	deleted, _ := h.inDatabase("ses-deleted")
	h.db.failing(first("delete"))
	if err := h.store.Delete(t.Context(), "ses-deleted", deleted.Revision); err != nil {
		t.Fatal(err)
	}
	h.recover()
	if _, ok := h.inDatabase("ses-deleted"); ok {
		t.Error("a delete with a lost response: the session exists")
	}
}

// The process is killed, or the database becomes unavailable, at every point of a replay. Each change is merged once.
func TestInterruptedReplayMergesEachChangeOnce(t *testing.T) {
	t.Parallel()
	const sessions = 4
	for _, after := range []bool{false, true} {
		for point := range sessions + 2 {
			for _, killed := range []bool{false, true} {
				t.Run(fmt.Sprintf("call %d, after its effect %v, the process is killed %v", point, after, killed), func(t *testing.T) {
					t.Parallel()
					h := newFixture(t)
					h.db.set(true)
					for i := range sessions {
						s := h.create(session.ID(fmt.Sprint("ses-", i)))
						s.Owner = "bob"
						h.update(s)
					}
					var calls atomic.Int64
					var reached atomic.Bool
					h.db.failing(func(call string) (bool, bool) {
						if call == "ping" {
							return false, false
						}
						if n := calls.Add(1) - 1; n == int64(point) {
							reached.Store(true)
							return !after, after
						} else if n > int64(point) {
							return true, false
						}
						return false, false
					})
					h.eventually("the replay is interrupted", func() bool { return reached.Load() || !h.store.Status().Degraded })
					if killed {
						h.crash()
						h.db.set(true)
						h.start()
					}
					if h.store.Status().Degraded { // a further change before the next attempt
						s, err := h.store.Get(t.Context(), "ses-0")
						if err != nil {
							t.Fatal(err)
						}
						s.Token.Digest, s.Token.RotatedAt = "second", time.Now().UTC()
						h.update(s)
					}
					h.recover()
					for i := range sessions {
						got, ok := h.inDatabase(session.ID(fmt.Sprint("ses-", i)))
						if !ok || got.Owner != "bob" {
							t.Errorf("session %d: got %+v, %v", i, got, ok)
						}
					}
				})
			}
		}
	}
}

// A process that starts without the database continues with the copy and the journal of the previous one.
func TestStartWithoutDatabaseKeepsKnownSessions(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.create("ses-a")
	h.eventually("the copy is written", func() bool {
		_, err := h.base.Get(t.Context(), "ses-a")
		return err == nil
	})
	h.crash()
	h.db.set(true)
	h.start()
	if _, err := h.store.Get(t.Context(), "ses-a"); err != nil {
		t.Errorf("what was known before: %v", err)
	}
	h.create("ses-b")
	h.crash()
	h.start()
	for _, id := range []session.ID{"ses-a", "ses-b"} {
		if _, err := h.store.Get(t.Context(), id); err != nil {
			t.Errorf("%s after another start without the database: %v", id, err)
		}
	}
	h.crash()
	h.db.set(false)
	h.start()
	if h.store.Status().Degraded {
		t.Error("it starts without the database although it answers")
	}
	for _, id := range []session.ID{"ses-a", "ses-b"} {
		if _, ok := h.inDatabase(id); !ok {
			t.Errorf("%s is not in the database", id)
		}
	}
}

// A single call that fails does not cause a failover while the database answers pings.
func TestFailedCallDoesNotFailOverWhileDatabaseAnswers(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.db.failing(func(call string) (bool, bool) { return call == "list", false })
	_, err := h.store.List(t.Context(), session.Query{})
	if session.CodeOf(err) != session.CodeStoreUnavailable || h.store.Status().Degraded {
		t.Errorf("got %v and %+v, want the call to fail alone", err, h.store.Status())
	}
}

// After a replay every session may have changed.
func TestWatchCallsMissedAfterReplay(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	var missed atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.store.Watch(ctx, func() { missed.Add(1) }, func(session.ID) {})
	}()
	h.eventually("missed is called at the start", func() bool { return missed.Load() == 2 }) // ours and the database's
	h.db.set(true)
	h.create("ses-a")
	h.recover()
	h.eventually("missed is called after the replay", func() bool { return missed.Load() == 3 })
	cancel()
	<-done
}
