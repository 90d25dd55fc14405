package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

func listOrder(t *testing.T, store session.Store) {
	if got := list(t, store, session.Query{}); len(got.Sessions) != 0 || got.Next != "" {
		t.Errorf("an empty store lists %+v, want nothing and no next page", got)
	}
	// IDs in the order of their bytes, which is not the order of a dictionary.
	sameTime := []session.ID{"a-b", "a-c", "a1", "a_a", "ab"}
	for _, i := range []int{3, 0, 4, 2, 1} {
		create(t, store, idle(sameTime[i]))
	}
	late, early := idle("a"), idle("z")
	late.CreatedAt, early.CreatedAt = at(1), at(-1)
	create(t, store, late)
	create(t, store, early)

	want := append(append([]session.ID{"z"}, sameTime...), "a")
	got := list(t, store, session.Query{})
	if diff := cmp.Diff(want, ids(got.Sessions)); diff != "" {
		t.Errorf("order by creation time, then bytes of the ID (-want +got):\n%s", diff)
	}
	if got.Next != "" {
		t.Errorf("a list without a limit has a next page %q", got.Next)
	}
	for _, s := range got.Sessions {
		wantSame(t, s, get(t, store, s.ID), "a listed session, compared with the same one got")
	}
}

func listFilters(t *testing.T, store session.Store) {
	for i, owner := range []string{"ann", "bob", "", "Ann"} {
		for j, status := range session.Statuses() {
			s := idle(numbered(i*10 + j))
			s.Owner, s.Status, s.CreatedAt = owner, status, at(i*10+j)
			create(t, store, s)
		}
	}
	for _, test := range []struct {
		why  string
		q    session.Query
		want []session.ID
	}{
		{"one owner, to the letter", session.Query{Owner: "ann"}, []session.ID{numbered(0), numbered(1), numbered(2), numbered(3)}},
		{"one status", session.Query{Statuses: []session.Status{session.Running}}, []session.ID{numbered(1), numbered(11), numbered(21), numbered(31)}},
		{
			"two statuses of one owner",
			session.Query{Owner: "bob", Statuses: []session.Status{session.Error, session.Creating}},
			[]session.ID{numbered(10), numbered(13)},
		},
		{"nobody's", session.Query{Owner: "nobody"}, []session.ID{}},
		{"an owner with a wildcard in the name", session.Query{Owner: "a%"}, []session.ID{}},
	} {
		if diff := cmp.Diff(test.want, ids(list(t, store, test.q).Sessions)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.why, diff)
		}
		paged := []session.ID{}
		q := test.q
		q.Limit = 1
		for {
			page := list(t, store, q)
			paged = append(paged, ids(page.Sessions)...)
			if page.Next == "" || len(paged) > 100 {
				break
			}
			q.After = page.Next
		}
		if diff := cmp.Diff(test.want, paged); diff != "" {
			t.Errorf("%s, one by one (-want +got):\n%s", test.why, diff)
		}
	}
}

func listPages(t *testing.T, store session.Store) {
	for i := range 9 { // in threes of the same time
		s := idle(numbered(i * 10))
		s.CreatedAt = at(i / 3)
		create(t, store, s)
	}
	first := list(t, store, session.Query{Limit: 4})
	if diff := cmp.Diff([]session.ID{numbered(0), numbered(10), numbered(20), numbered(30)}, ids(first.Sessions)); diff != "" {
		t.Fatalf("first page (-want +got):\n%s", diff)
	}

	// The page ended at session 30. While it was read, one came before it and one after it, the one at its end went,
	// and one of those to come changed.
	before, after := idle(numbered(5)), idle(numbered(35))
	after.CreatedAt = at(1)
	create(t, store, before)
	create(t, store, after)
	if err := store.Delete(t.Context(), numbered(30), 1); err != nil {
		t.Fatalf("delete: %v", err)
	}
	update(t, store, get(t, store, numbered(50)))

	second := list(t, store, session.Query{Limit: 4, After: first.Next})
	third := list(t, store, session.Query{Limit: 4, After: second.Next})
	want := []session.ID{numbered(35), numbered(40), numbered(50), numbered(60), numbered(70), numbered(80)}
	if diff := cmp.Diff(want, append(ids(second.Sessions), ids(third.Sessions)...)); diff != "" {
		t.Errorf("the pages after a first one, while sessions were created and deleted (-want +got):\n%s", diff)
	}
	if len(second.Sessions) != 4 || third.Next != "" {
		t.Errorf("the second page has %d sessions and the last one says %q comes next; want 4 and nothing", len(second.Sessions), third.Next)
	}
}

func listLastPage(t *testing.T, store session.Store) {
	for i := range 4 {
		create(t, store, idle(numbered(i)))
	}
	for limit, more := range map[int]bool{1: true, 3: true, 4: false, 5: false} {
		page := list(t, store, session.Query{Limit: limit})
		if len(page.Sessions) != min(limit, 4) || (page.Next != "") != more {
			t.Errorf("a page of %d of 4 has %d sessions and says %q comes next; want more to come: %v", limit, len(page.Sessions), page.Next, more)
		}
	}
	q := session.Query{Limit: 2}
	q.After = list(t, store, q).Next
	if last := list(t, store, q); len(last.Sessions) != 2 || last.Next != "" {
		t.Errorf("the second page of two of 4 has %d sessions and says %q comes next; want 2 and nothing", len(last.Sessions), last.Next)
	}
}

func listForeignCursor(t *testing.T, store session.Store) {
	create(t, store, idle("ses-a"))
	for _, cursor := range []string{"x", "!", "ses-a", "'; --", "bm90IGEgY3Vyc29y", "\x00"} {
		_, err := store.List(t.Context(), session.Query{After: cursor})
		wantCode(t, err, session.CodeInvalid, "a list after "+cursor)
	}
}

func listTokens(t *testing.T, store session.Store) {
	for i, s := range []session.Session{
		{Token: session.Token{Digest: "d"}}, // never expires
		{Token: session.Token{Digest: "d", ExpiresAt: at(51)}},
		{Token: session.Token{Digest: "d", ExpiresAt: at(50)}},
		{Token: session.Token{ExpiresAt: at(90)}}, // swept
		{Token: session.Token{PreviousDigest: "d", PreviousExpiresAt: at(90)}},
		{Token: session.Token{Digest: "d", ExpiresAt: at(90)}},
	} {
		s.ID, s.Status, s.CreatedAt = numbered(i), session.Stopped, at(i)
		create(t, store, s)
	}
	want := []session.ID{numbered(0), numbered(1), numbered(5)}
	got := []session.ID{}
	for q := (session.Query{TokenAt: at(50), Limit: 1}); ; {
		page := list(t, store, q)
		got = append(got, ids(page.Sessions)...)
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions with a valid token at a time (-want +got):\n%s", diff)
	}
}
