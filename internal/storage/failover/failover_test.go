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

func TestStoreWithItsDatabase(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) session.Store { return newFixture(t).store })
}

func TestStoreWithoutItsDatabase(t *testing.T) {
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
				for ctx.Err() == nil && h.store.Status().Degraded != off { // a moment without it is the call's own failure
					<-time.After(time.Millisecond)
				}
			}
		})
		t.Cleanup(func() { cancel(); wg.Wait() })
		return h.store
	})
}

// Everything that can be done without the database reaches it.
func TestChangesFlowBack(t *testing.T) {
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
	h.back()
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

// What other instances have written meanwhile is not overwritten.
func TestNewerRowsAreNotOverwritten(t *testing.T) {
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
			"a stop that was asked for and a later restart of Berth's own", did(session.EventStopped, "operator", early, session.Stopped),
			did(session.EventRestarted, "berth", late, session.Running), is(session.Stopped),
		},
		{
			"a restart of Berth's own and a stop that was asked for", did(session.EventRestarted, "berth", late, session.Running),
			did(session.EventStopped, "user", early, session.Stopped), is(session.Stopped),
		},
		{
			"a start that was asked for and an idle stop", did(session.EventReady, "user", early, session.Running),
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
		{"different things", token("mine", early), status(session.Error, "theirs"), func(s session.Session) bool {
			return s.Token.Digest == "mine" && s.LastError == "theirs"
		}},
		{"the same", status(session.Error, "mine"), status(session.Error, "theirs"), func(s session.Session) bool { return s.LastError == "theirs" }},
		{"the later token is mine", token("mine", late), token("theirs", early), func(s session.Session) bool { return s.Token.Digest == "mine" }},
		{"the later token is theirs", token("mine", early), token("theirs", late), func(s session.Session) bool { return s.Token.Digest == "theirs" }},
		{"the later token is mine, with the one before in its grace", graced("mine", late), token("theirs", early), func(s session.Session) bool {
			return s.Token.Digest == "mine" && s.Token.PreviousDigest == "before mine" && s.Token.PreviousExpiresAt.Equal(late.Add(time.Minute))
		}},
		{"the later token is theirs, without a grace", graced("mine", early), token("theirs", late), func(s session.Session) bool {
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
				h.others("ses-a", test.theirs)
			}
			h.back()
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
		h.back()
		if got, ok := h.inDatabase("ses-a"); ok {
			t.Errorf("a session that others have deleted is back: %+v", got)
		}
	})
}

// The database did what it was asked and died before it could say so. It is not done twice.
func TestAnswerThatWasLost(t *testing.T) {
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
	h.back()
	if got, ok := h.inDatabase("ses-new"); !ok || got.Token.Digest != "second" {
		t.Errorf("a create whose answer was lost, changed since: got %+v, want the change", got)
	}

	changed, _ := h.inDatabase("ses-changed")
	h.db.failing(first("update"))
	changed.Owner = "bob"
	if got := h.update(changed); got.Owner != "bob" {
		t.Errorf("got %+v", got)
	}
	h.back()
	if got, _ := h.inDatabase("ses-changed"); got.Owner != "bob" {
		t.Errorf("an update whose answer was lost: got %+v", got)
	}

	deleted, _ := h.inDatabase("ses-deleted")
	h.db.failing(first("delete"))
	if err := h.store.Delete(t.Context(), "ses-deleted", deleted.Revision); err != nil {
		t.Fatal(err)
	}
	h.back()
	if _, ok := h.inDatabase("ses-deleted"); ok {
		t.Error("a delete whose answer was lost: it is there")
	}
}

// The process is killed, or the database goes away again, at every point of a flow back. Everything arrives once.
func TestFailBackInterrupted(t *testing.T) {
	t.Parallel()
	const sessions = 4
	for _, after := range []bool{false, true} {
		for point := range sessions + 2 {
			for _, dies := range []bool{false, true} {
				t.Run(fmt.Sprintf("call %d, after it has worked %v, the process dies %v", point, after, dies), func(t *testing.T) {
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
					h.eventually("the flow back is cut short", func() bool { return reached.Load() || !h.store.Status().Degraded })
					if dies {
						h.crash()
						h.db.set(true)
						h.start()
					}
					if h.store.Status().Degraded { // something more is done before it is tried again
						s, err := h.store.Get(t.Context(), "ses-0")
						if err != nil {
							t.Fatal(err)
						}
						s.Token.Digest, s.Token.RotatedAt = "second", time.Now().UTC()
						h.update(s)
					}
					h.back()
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

// A process that dies while it turns to its own store goes on at the next start with all that there was.
func TestStartWithoutTheDatabase(t *testing.T) {
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
		t.Error("it starts without the database although that answers")
	}
	for _, id := range []session.ID{"ses-a", "ses-b"} {
		if _, ok := h.inDatabase(id); !ok {
			t.Errorf("%s is not in the database", id)
		}
	}
}

// A single call that takes too long is no reason to leave a database that answers.
func TestCallThatFailsWhileTheDatabaseAnswers(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.db.failing(func(call string) (bool, bool) { return call == "list", false })
	_, err := h.store.List(t.Context(), session.Query{})
	if session.CodeOf(err) != session.CodeStoreUnavailable || h.store.Status().Degraded {
		t.Errorf("got %v and %+v, want the call's own failure", err, h.store.Status())
	}
}

// Whoever watches is told after a flow back that everything may be another.
func TestWatchAfterAFlowBack(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	var missed atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.store.Watch(ctx, func() { missed.Add(1) }, func(session.ID) {})
	}()
	h.eventually("the beginning is told", func() bool { return missed.Load() == 2 }) // ours and the database's
	h.db.set(true)
	h.create("ses-a")
	h.back()
	h.eventually("the flow back is told", func() bool { return missed.Load() == 3 })
	cancel()
	<-done
}
