package storetest

import (
	"testing"

	"berth/internal/session"
)

func createGet(t *testing.T, store session.Store) {
	given := Full("ses-a")
	given.Revision = 41
	created := create(t, store, given)
	want := given
	want.Revision = 1
	wantSame(t, created, want, "the answer of create, whose revision the store sets")
	wantSame(t, get(t, store, "ses-a"), want, "the stored session")
}

func createTaken(t *testing.T, store session.Store) {
	first := create(t, store, Full("ses-a"))
	second := Full("ses-a")
	second.Owner = "bob"
	_, err := store.Create(t.Context(), second, session.Quota{})
	wantCode(t, err, session.CodeConflict, "create of a taken ID")
	wantSame(t, get(t, store, "ses-a"), first, "the first session after the second create")

	create(t, store, busy("ses-b"))
	_, err = store.Create(t.Context(), busy("ses-b"), session.Quota{Running: 1})
	wantCode(t, err, session.CodeConflict, "create of a taken ID in a full house: a repeated request has to find its session")
}

func notFound(t *testing.T, store session.Store) {
	create(t, store, idle("ses-a"))
	_, err := store.Get(t.Context(), "ses-b")
	wantCode(t, err, session.CodeNotFound, "get")
	missing := idle("ses-b")
	missing.Revision = 1
	_, err = store.Update(t.Context(), missing, session.Unlimited)
	wantCode(t, err, session.CodeNotFound, "update")
	wantCode(t, store.Delete(t.Context(), "ses-b", 1), session.CodeNotFound, "delete")
	if got := ids(list(t, store, session.Query{}).Sessions); len(got) != 1 {
		t.Errorf("there are the sessions %v, want only ses-a: an update must not create", got)
	}
}

func updateReplaces(t *testing.T, store session.Store) {
	create(t, store, Full("ses-b"))
	s := create(t, store, idle("ses-a"))
	other := get(t, store, "ses-b")

	next := Full("ses-a")
	next.Revision = s.Revision
	updated := update(t, store, next)
	next.Revision = 2
	wantSame(t, updated, next, "the answer of an update that fills every field")
	wantSame(t, get(t, store, "ses-a"), next, "the session after an update that fills every field")

	empty := idle("ses-a")
	empty.Revision = 2
	empty.LastAccessed = next.LastAccessed
	updated = update(t, store, empty)
	empty.Revision = 3
	wantSame(t, updated, empty, "the answer of an update that empties fields")
	wantSame(t, get(t, store, "ses-a"), empty, "the session after an update that empties fields")
	wantSame(t, get(t, store, "ses-b"), other, "another session")
}

func updateStale(t *testing.T, store session.Store) {
	first := create(t, store, idle("ses-a"))
	second := first
	second.Owner = "bob"
	second = update(t, store, second)

	for _, revision := range []int64{first.Revision, second.Revision + 1, 0, -1} {
		stale := first
		stale.Owner, stale.Revision = "eve", revision
		_, err := store.Update(t.Context(), stale, session.Unlimited)
		wantCode(t, err, session.CodeConflict, "update of a revision that is not the present one")
	}
	wantSame(t, get(t, store, "ses-a"), second, "the session after refused updates")
}

func deleteRevision(t *testing.T, store session.Store) {
	first := create(t, store, idle("ses-a"))
	second := update(t, store, first)
	kept := create(t, store, idle("ses-b"))

	wantCode(t, store.Delete(t.Context(), "ses-a", first.Revision), session.CodeConflict, "delete of an old revision")
	wantSame(t, get(t, store, "ses-a"), second, "the session after a refused delete")

	wantCode(t, store.Delete(t.Context(), "ses-a", second.Revision), "", "delete of the present revision")
	_, err := store.Get(t.Context(), "ses-a")
	wantCode(t, err, session.CodeNotFound, "get after delete")
	_, err = store.Update(t.Context(), second, session.Unlimited)
	wantCode(t, err, session.CodeNotFound, "update after delete")
	wantCode(t, store.Delete(t.Context(), "ses-a", second.Revision), session.CodeNotFound, "second delete")
	wantSame(t, get(t, store, "ses-b"), kept, "another session")
}

func createAgain(t *testing.T, store session.Store) {
	first := create(t, store, Full("ses-a"))
	update(t, store, first)
	if err := store.Delete(t.Context(), "ses-a", 2); err != nil {
		t.Fatalf("delete: %v", err)
	}
	again := create(t, store, idle("ses-a"))
	want := idle("ses-a")
	want.Revision = 1
	wantSame(t, again, want, "a session with the ID of a deleted one, which shares nothing with it")
	wantSame(t, get(t, store, "ses-a"), want, "the same, read back")
}

func ping(t *testing.T, store session.Store) {
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("ping: got %v, want nil", err)
	}
}
