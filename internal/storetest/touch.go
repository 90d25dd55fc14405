package storetest

import (
	"testing"
	"time"

	"berth/internal/session"
)

func touchForward(t *testing.T, store session.Store) {
	s := create(t, store, Full("ses-a"))
	kept := create(t, store, Full("ses-b"))
	for _, step := range []struct {
		to, want time.Time
		why      string
	}{
		{at(100), at(100), "later than before"},
		{at(99), at(100), "earlier than before"},
		{at(100), at(100), "the same as before"},
		{at(101).Add(999 * time.Nanosecond), at(101), "with nanoseconds"},
		{at(102).In(time.FixedZone("", 3600)), at(102), "in another zone"},
		{time.Time{}, at(102), "the zero time"},
	} {
		touch(t, store, map[session.ID]time.Time{"ses-a": step.to})
		s.LastAccessed = step.want
		wantSame(t, get(t, store, "ses-a"), s, "the session after a touch "+step.why)
	}
	wantSame(t, list(t, store, session.Query{}).Sessions[0], s, "the touched session in a list")
	wantSame(t, get(t, store, "ses-b"), kept, "a session that was not touched")
}

func touchUnknown(t *testing.T, store session.Store) {
	s := create(t, store, idle("ses-a"))
	touch(t, store, map[session.ID]time.Time{"ses-b": at(100), "ses-a": at(100), "": at(100)})
	s.LastAccessed = at(100)
	wantSame(t, get(t, store, "ses-a"), s, "a session that was touched together with unknown ones")
	if got := list(t, store, session.Query{}).Sessions; len(got) != 1 {
		t.Errorf("there are the sessions %v, want only ses-a: touch must not create", ids(got))
	}
	touch(t, store, nil)

	// Activity of a session that is gone is not the activity of the next one with its ID.
	if err := store.Delete(t.Context(), "ses-a", 1); err != nil {
		t.Fatalf("delete: %v", err)
	}
	touch(t, store, map[session.ID]time.Time{"ses-a": at(200)})
	want := idle("ses-a")
	want.Revision = 1
	wantSame(t, create(t, store, idle("ses-a")), want, "a new session with the ID of one that was touched")
	wantSame(t, get(t, store, "ses-a"), want, "the same, read back")
}

func touchThenUpdate(t *testing.T, store session.Store) {
	s := create(t, store, idle("ses-a"))
	touch(t, store, map[session.ID]time.Time{"ses-a": at(100)})

	s.Owner = "bob" // read before the touch: its LastAccessed is old
	updated := update(t, store, s)
	s.Revision, s.LastAccessed = 2, at(100)
	wantSame(t, updated, s, "the answer of an update with older activity")
	wantSame(t, get(t, store, "ses-a"), s, "the session after an update with older activity")

	s.LastAccessed = at(200)
	updated = update(t, store, s)
	s.Revision = 3
	wantSame(t, updated, s, "the answer of an update with newer activity")

	touch(t, store, map[session.ID]time.Time{"ses-a": at(150)})
	wantSame(t, get(t, store, "ses-a"), s, "the session after a touch that is older than an update")
}

func touchMany(t *testing.T, store session.Store) {
	activity := map[session.ID]time.Time{}
	for i := range 100 {
		create(t, store, idle(numbered(i)))
		activity[numbered(i)] = at(i)
	}
	touch(t, store, activity)
	for i, s := range list(t, store, session.Query{}).Sessions {
		if !s.LastAccessed.Equal(at(i)) || s.Revision != 1 {
			t.Errorf("%s was last accessed %s at revision %d, want %s at 1", s.ID, s.LastAccessed, s.Revision, at(i))
		}
	}
}
