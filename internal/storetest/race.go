package storetest

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

// race runs so many calls at once and counts how they ended.
func race(n int, call func(i int) error) map[session.Code]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	start := make(chan struct{})
	ended := map[session.Code]int{}
	for i := range n {
		all.Go(func() {
			<-start
			code := session.CodeOf(call(i))
			mu.Lock()
			ended[code]++
			mu.Unlock()
		})
	}
	close(start)
	all.Wait()
	return ended
}

func wantEnds(t *testing.T, got, want map[session.Code]int, why string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: how the calls ended (-want +got):\n%s", why, diff)
	}
}

func raceUpdates(t *testing.T, store session.Store) {
	const calls, rounds = 20, 5
	s := create(t, store, idle("ses-a"))
	for round := range rounds {
		var mu sync.Mutex
		var won session.Session
		got := race(calls, func(i int) error {
			mine := s
			mine.Port = round*100 + i + 1
			updated, err := store.Update(t.Context(), mine, session.Unlimited)
			if err == nil {
				mu.Lock()
				won = updated
				mu.Unlock()
			}
			return err
		})
		wantEnds(t, got, map[session.Code]int{"": 1, session.CodeConflict: calls - 1}, "updates of one revision")
		s = get(t, store, "ses-a")
		wantSame(t, s, won, "the session after a race, compared with what the winner was told")
	}
	if s.Revision != rounds+1 {
		t.Errorf("after %d rounds with one winner each the revision is %d, want %d", rounds, s.Revision, rounds+1)
	}
}

func raceSameID(t *testing.T, store session.Store) {
	got := race(20, func(int) error {
		_, err := store.Create(t.Context(), busy("ses-a"), session.Quota{Running: 5})
		return err
	})
	wantEnds(t, got, map[session.Code]int{"": 1, session.CodeConflict: 19}, "creates of one ID")
}

func raceOwnerCreates(t *testing.T, store session.Store) {
	const calls, room = 100, 7
	got := race(calls, func(i int) error {
		s := busy(numbered(i))
		if i%2 == 1 {
			s = idle(numbered(i))
		}
		_, err := store.Create(t.Context(), s, session.Quota{Running: calls, PerOwner: room})
		return err
	})
	wantEnds(t, got, map[session.Code]int{"": room, session.CodeOwnerLimit: calls - room}, "creates of one owner with room for fewer")
}

func raceCreates(t *testing.T, store session.Store) {
	const calls, room = 200, 50
	got := race(calls, func(i int) error {
		_, err := store.Create(t.Context(), busy(numbered(i)), session.Quota{Running: room})
		return err
	})
	wantEnds(t, got, map[session.Code]int{"": room, session.CodeLimit: calls - room}, "creates with room for fewer")
	if n := len(list(t, store, session.Query{}).Sessions); n != room {
		t.Errorf("there are %d sessions after the race, want %d", n, room)
	}
}

func raceStarts(t *testing.T, store session.Store) {
	const stopped, created, room = 30, 30, 10
	for i := range stopped {
		create(t, store, idle(numbered(i)))
	}
	got := race(stopped+created, func(i int) error {
		s := busy(numbered(i))
		var err error
		if i < stopped {
			s.Revision = 1
			_, err = store.Update(t.Context(), s, room)
		} else {
			_, err = store.Create(t.Context(), s, session.Quota{Running: room})
		}
		return err
	})
	wantEnds(t, got, map[session.Code]int{"": room, session.CodeLimit: stopped + created - room}, "starts and creates with room for fewer")
	running := list(t, store, session.Query{Statuses: []session.Status{session.Running}}).Sessions
	if len(running) != room {
		t.Errorf("%d sessions occupy a slot after the race, want %d", len(running), room)
	}
}

func raceTouches(t *testing.T, store session.Store) {
	create(t, store, idle("ses-a"))
	const calls = 40
	got := race(calls, func(i int) error {
		if i%4 != 0 {
			return store.Touch(t.Context(), map[session.ID]time.Time{"ses-a": at(i)})
		}
		for {
			s, err := store.Get(t.Context(), "ses-a")
			if err != nil {
				return err
			}
			s.RestartCount++
			if _, err = store.Update(t.Context(), s, session.Unlimited); session.CodeOf(err) != session.CodeConflict {
				return err
			}
		}
	})
	wantEnds(t, got, map[session.Code]int{"": calls}, "touches and updates, which try again after a conflict")
	s := get(t, store, "ses-a")
	if !s.LastAccessed.Equal(at(calls-1)) || s.RestartCount != calls/4 || s.Revision != calls/4+1 {
		t.Errorf("got %d counts at revision %d, last accessed %s; want %d, %d and %s: a touch or an update got lost",
			s.RestartCount, s.Revision, s.LastAccessed, calls/4, calls/4+1, at(calls-1))
	}
}

func raceLists(t *testing.T, store session.Store) {
	for i := range 10 {
		create(t, store, idle(numbered(i)))
	}
	got := race(20, func(i int) error {
		if i%2 == 0 { // changes that keep Port and RestartCount equal
			for n := range 5 {
				s, err := store.Get(t.Context(), numbered(i/2))
				if err != nil {
					return err
				}
				s.Port, s.RestartCount = n+1, n+1
				if _, err := store.Update(t.Context(), s, session.Unlimited); err != nil {
					return err
				}
			}
			return nil
		}
		for range 5 {
			page, err := store.List(t.Context(), session.Query{})
			if err != nil {
				return err
			}
			if len(page.Sessions) != 10 {
				t.Errorf("a list during changes has %d sessions, want 10", len(page.Sessions))
			}
			for _, s := range page.Sessions {
				if s.Port != s.RestartCount || s.Revision != int64(s.Port)+1 {
					t.Errorf("a list shows half a change: port %d, restarts %d, revision %d", s.Port, s.RestartCount, s.Revision)
				}
			}
		}
		return nil
	})
	wantEnds(t, got, map[session.Code]int{"": 20}, "lists and changes of different sessions")
}
