package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// countsAgree compares the counts with a list, while sessions are created, changed and deleted.
func countsAgree(t *testing.T, store session.Store) {
	agree := func(when string) {
		t.Helper()
		want := record.NewCounts()
		for _, s := range list(t, store, session.Query{}).Sessions {
			want.Add(s, at(10))
		}
		got, err := record.CountSessions(t.Context(), store, at(10))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	agree("an empty store")
	valid, expired, none := busy("ses-valid"), idle("ses-expired"), idle("ses-none")
	valid.Token.Digest, valid.Token.ExpiresAt = "digest", at(11)
	expired.Token.Digest, expired.Token.ExpiresAt = "digest", at(10)
	forever := busy("ses-forever")
	forever.Token.Digest = "digest"
	valid, none = create(t, store, valid), create(t, store, none)
	create(t, store, expired)
	create(t, store, forever)
	agree("four sessions, of which two have a valid token")
	none.Status, none.LastError = session.Error, "the server ended by itself"
	update(t, store, none)
	if err := store.Delete(t.Context(), valid.ID, valid.Revision); err != nil {
		t.Fatal(err)
	}
	agree("after an update and a delete")
	if got, err := record.CountSessions(t.Context(), store, at(10)); err != nil || got.Total() != 3 || got.Active() != 1 || got.Authenticated != 1 {
		t.Errorf("got %+v (%v), want three sessions, one active, one with a valid token", got, err)
	}
}
