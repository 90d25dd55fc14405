package storetest

import (
	"strings"
	"testing"

	"berth/internal/session"
)

func wantFull(t *testing.T, err error, count, why string) {
	t.Helper()
	wantCode(t, err, session.CodeLimit, why)
	if err == nil {
		return
	}
	if got := session.MessageOf(err); !strings.Contains(got, count+" sessions running") {
		t.Errorf("%s: the message is %q, want it to say that %s sessions running", why, got, count)
	}
}

func capacityCreate(t *testing.T, store session.Store) {
	for i := range 2 {
		if _, err := store.Create(t.Context(), busy(numbered(i)), session.Quota{Running: 2}); err != nil {
			t.Fatalf("create %d of 2: %v", i+1, err)
		}
	}
	_, err := store.Create(t.Context(), busy("ses-c"), session.Quota{Running: 2})
	wantFull(t, err, "2 of 2", "a third create with room for two")
	_, err = store.Get(t.Context(), "ses-c")
	wantCode(t, err, session.CodeNotFound, "get of a session that was refused")

	_, err = store.Create(t.Context(), idle("ses-d"), session.Quota{Running: 2})
	wantCode(t, err, "", "create of a session that occupies no place, in a full house")
	_, err = store.Create(t.Context(), busy("ses-e"), session.Quota{Running: 1})
	wantFull(t, err, "2 of 1", "a create after the limit was lowered")

	if err := store.Delete(t.Context(), numbered(0), 1); err != nil {
		t.Fatalf("delete: %v", err)
	}
	_, err = store.Create(t.Context(), busy("ses-c"), session.Quota{Running: 2})
	wantCode(t, err, "", "a create after a delete has made room")
}

func capacityUpdate(t *testing.T, store session.Store) {
	stopped := create(t, store, idle("ses-a"))
	running := create(t, store, busy("ses-b"))

	start := stopped
	start.Operation = &session.Operation{Kind: session.OpStart, Owner: "process-1", Deadline: at(9)}
	_, err := store.Update(t.Context(), start, 1)
	wantFull(t, err, "1 of 1", "an update that begins to occupy, in a full house")
	wantSame(t, get(t, store, "ses-a"), stopped, "the session after a refused update")

	stale := start
	stale.Revision = 7
	_, err = store.Update(t.Context(), stale, 1)
	wantCode(t, err, session.CodeConflict, "an update of an old revision in a full house")

	_, err = store.Update(t.Context(), start, 2)
	wantCode(t, err, "", "an update that begins to occupy, with room for it")

	running.Status = session.Stopped
	update(t, store, running)
	_, err = store.Create(t.Context(), busy("ses-c"), session.Quota{Running: 2})
	wantCode(t, err, "", "a create after a stop has made room")
	_, err = store.Create(t.Context(), busy("ses-d"), session.Quota{Running: 2})
	wantFull(t, err, "2 of 2", "a create after the place was taken again")
}

func capacityStays(t *testing.T, store session.Store) {
	s := create(t, store, busy("ses-a"))
	create(t, store, busy("ses-b"))
	create(t, store, busy("ses-c"))
	var err error
	for _, next := range []session.Status{session.Running, session.Creating, session.Stopped} {
		s.Status = next
		if s, err = store.Update(t.Context(), s, 1); err != nil {
			t.Fatalf("an update to %s, above the limit: %v", next, err)
		}
	}
	s.Owner = "bob"
	_, err = store.Update(t.Context(), s, 1)
	wantCode(t, err, "", "an update of a session that occupies no place before and after, in a house that is over its limit")
}

// capacityCounts compares the store's own count, which may be in SQL, with that of the domain.
func capacityCounts(t *testing.T, store session.Store) {
	for _, status := range session.Statuses() {
		for _, kind := range append(session.Kinds(), "") {
			s := idle("ses-a")
			s.Status = status
			if kind != "" {
				s.Operation = &session.Operation{Kind: kind, Owner: "process-1", Deadline: at(9)}
			}
			refused := session.Code("")
			if s.Occupies() {
				refused = session.CodeLimit
			}
			what := string(status) + " with operation " + string(kind)

			create(t, store, s)
			_, err := store.Create(t.Context(), busy("ses-b"), session.Quota{Running: 1})
			wantCode(t, err, refused, "a create beside one session "+what+", with room for one")
			empty(t, store)

			create(t, store, busy("ses-b"))
			_, err = store.Create(t.Context(), s, session.Quota{Running: 1})
			wantCode(t, err, refused, "a create of a session "+what+" in a full house")
			empty(t, store)

			create(t, store, busy("ses-b"))
			stopped := create(t, store, idle("ses-a"))
			s.Revision = stopped.Revision
			_, err = store.Update(t.Context(), s, 1)
			wantCode(t, err, refused, "an update from stopped to "+what+" in a full house")
			empty(t, store)
		}
	}
}

func empty(t *testing.T, store session.Store) {
	t.Helper()
	for _, s := range list(t, store, session.Query{}).Sessions {
		if err := store.Delete(t.Context(), s.ID, s.Revision); err != nil {
			t.Fatalf("delete %s: %v", s.ID, err)
		}
	}
}

func capacityUnlimited(t *testing.T, store session.Store) {
	for i := range 20 {
		create(t, store, busy(numbered(i)))
	}
	s := create(t, store, idle("ses-a"))
	s.Status = session.Running
	update(t, store, s)
}

func ownerCapacity(t *testing.T, store session.Store) {
	of := func(owner string, s session.Session) session.Session {
		s.Owner = owner
		return s
	}
	two := session.Quota{Running: 10, PerOwner: 2}
	for i, s := range []session.Session{of("ann", busy(numbered(0))), of("ann", idle(numbered(1))), of("bob", busy(numbered(2))), of("", busy(numbered(3)))} {
		if _, err := store.Create(t.Context(), s, two); err != nil {
			t.Fatalf("create %d: %v", i, err)
		}
	}
	for _, s := range []session.Session{of("ann", busy("ses-c")), of("ann", idle("ses-c"))} {
		_, err := store.Create(t.Context(), s, two)
		wantCode(t, err, session.CodeOwnerLimit, "a third session of ann")
		if err != nil && !strings.Contains(session.MessageOf(err), "2 of 2 sessions") {
			t.Errorf("got %q, want it to say how many there are", session.MessageOf(err))
		}
	}
	_, err := store.Create(t.Context(), of("ann", busy(numbered(0))), two)
	wantCode(t, err, session.CodeConflict, "a repeated create at the limit")
	for _, id := range []session.ID{"ses-d", "ses-e", "ses-f"} {
		_, err = store.Create(t.Context(), of("", busy(id)), two)
		wantCode(t, err, "", "a session that nobody owns")
	}
	_, err = store.Create(t.Context(), of("ann", busy("ses-g")), session.Quota{Running: 10})
	wantCode(t, err, "", "a create without a limit of the owner's")
	_, err = store.Create(t.Context(), of("bob", busy("ses-h")), session.Quota{Running: 1, PerOwner: 2})
	wantCode(t, err, session.CodeLimit, "a create with room for the owner only")
	for _, id := range []session.ID{numbered(0), numbered(1)} {
		if err := store.Delete(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
	}
	_, err = store.Create(t.Context(), of("ann", busy("ses-c")), two)
	wantCode(t, err, "", "a create after deletes have made room")
}
