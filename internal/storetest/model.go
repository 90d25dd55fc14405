package storetest

import (
	"cmp"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth/internal/session"
)

// Model compares a store with a plain map over random sequences of operations. The same store serves all sequences;
// each of them begins by emptying it, and makes its sessions at a time of its own.
func Model(t *testing.T, open Open) {
	t.Helper()
	store, epoch := open(t), time.Duration(0)
	rapid.Check(t, func(rt *rapid.T) {
		epoch += time.Second
		m := model{test: t, store: store, epoch: epoch, want: map[session.ID]session.Session{}, lives: map[life]bool{}}
		empty(t, store)
		rt.Repeat(map[string]func(*rapid.T){
			"create": m.create, "update": m.update, "delete": m.delete, "touch": m.touch, "pages": m.pages,
			"": m.check,
		})
	})
}

type model struct {
	test  *testing.T
	store session.Store
	epoch time.Duration // before the sessions of this sequence
	want  map[session.ID]session.Session
	lives map[life]bool // of sessions that were made
}

// life tells sessions apart that have an ID one after the other. None is made twice in the same microsecond, in any
// sequence: a store may remember of the sequence before what is to be brought to where.
type life struct {
	id      session.ID
	created time.Time
}

// Few values, so that random operations meet each other. Generators are made for each draw: those of one test must not be
// used by another one at the same time.

func anyID() *rapid.Generator[session.ID] {
	return rapid.SampledFrom([]session.ID{"a-b", "ab", "a_b", "ses-1", "ses-2", "z"})
}

func anyOwner() *rapid.Generator[string] { return rapid.SampledFrom([]string{"", "ann", "bob"}) }

func anyStatus() *rapid.Generator[session.Status] { return rapid.SampledFrom(session.Statuses()) }

func anyKind() *rapid.Generator[session.Kind] {
	return rapid.SampledFrom(append(session.Kinds(), "", "", ""))
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time { return at(rapid.IntRange(0, 9).Draw(t, "micros")) })
}

func anyRoom() *rapid.Generator[int] { return rapid.IntRange(session.Unlimited, 3) }

func anyMetadata() *rapid.Generator[map[string]any] {
	value := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Float64Range(-1e9, 1e9).AsAny(), rapid.StringMatching(`[ -~æøå日]{0,5}`).AsAny(),
		rapid.SliceOfN(rapid.Bool().AsAny(), 0, 2).AsAny(),
		rapid.MapOfN(rapid.StringMatching(`[a-c]`), rapid.Bool().AsAny(), 0, 2).AsAny(),
	)
	return rapid.MapOfN(rapid.StringMatching(`[a-c "\\]{0,2}`), value, 0, 3)
}

func anySession(t *rapid.T, id session.ID) session.Session {
	s := session.Session{
		ID: id, Owner: anyOwner().Draw(t, "owner"), Status: anyStatus().Draw(t, "status"), CreatedAt: anyTime().Draw(t, "created"),
		LastAccessed: anyTime().Draw(t, "accessed"), Port: rapid.IntRange(0, 65535).Draw(t, "port"),
		LastError: rapid.StringMatching(`[ -~]{0,5}`).Draw(t, "error"), Metadata: anyMetadata().Draw(t, "metadata"),
	}
	if kind := anyKind().Draw(t, "operation"); kind != "" {
		s.Operation = &session.Operation{Kind: kind, Owner: "process-1", Deadline: anyTime().Draw(t, "deadline")}
	}
	return s
}

// isFull reports whether there is no room for one more session beside the others.
func (m *model) isFull(id session.ID, room int) bool {
	used := 0
	for _, s := range m.want {
		if s.ID != id && s.Occupies() {
			used++
		}
	}
	return room > 0 && used >= room
}

func (m *model) create(t *rapid.T) {
	s, room := anySession(t, anyID().Draw(t, "id")), anyRoom().Draw(t, "room")
	s.CreatedAt = s.CreatedAt.Add(m.epoch)
	_, taken := m.want[s.ID]
	if m.lives[life{s.ID, s.CreatedAt}] && !taken {
		t.Skip("it has lived")
	}
	got, err := m.store.Create(m.test.Context(), s, session.Quota{Running: room})
	switch {
	case taken:
		wantCode(t, err, session.CodeConflict, "create of a taken ID")
	case s.Occupies() && m.isFull(s.ID, room):
		wantCode(t, err, session.CodeLimit, "create in a full house")
	default:
		s.Revision = 1
		m.accept(t, got, err, s, "create")
		m.lives[life{s.ID, s.CreatedAt}] = true
	}
}

func (m *model) update(t *rapid.T) {
	s, room := anySession(t, anyID().Draw(t, "id")), anyRoom().Draw(t, "room")
	old, exists := m.want[s.ID]
	s.Revision = old.Revision
	if exists {
		s.CreatedAt = old.CreatedAt
	}
	stale := rapid.IntRange(0, 4).Draw(t, "stale") == 0
	if stale {
		s.Revision--
	}
	got, err := m.store.Update(m.test.Context(), s, room)
	switch {
	case !exists:
		wantCode(t, err, session.CodeNotFound, "update of nothing")
	case stale:
		wantCode(t, err, session.CodeConflict, "update of an old revision")
	case s.Occupies() && !old.Occupies() && m.isFull(s.ID, room):
		wantCode(t, err, session.CodeLimit, "update that begins to occupy in a full house")
	default:
		s.Revision++
		if old.LastAccessed.After(s.LastAccessed) {
			s.LastAccessed = old.LastAccessed
		}
		m.accept(t, got, err, s, "update")
	}
}

func (m *model) accept(t *rapid.T, got session.Session, err error, want session.Session, doing string) {
	if err != nil {
		t.Fatalf("%s of %+v: %v", doing, want, err)
	}
	wantSame(t, got, want, "the answer of "+doing)
	m.want[want.ID] = want
}

func (m *model) delete(t *rapid.T) {
	id := anyID().Draw(t, "id")
	old, exists := m.want[id]
	revision := old.Revision
	stale := rapid.IntRange(0, 4).Draw(t, "stale") == 0
	if stale {
		revision++
	}
	err := m.store.Delete(m.test.Context(), id, revision)
	switch {
	case !exists:
		wantCode(t, err, session.CodeNotFound, "delete of nothing")
	case stale:
		wantCode(t, err, session.CodeConflict, "delete of another revision")
	default:
		wantCode(t, err, "", "delete")
		delete(m.want, id)
	}
}

func (m *model) touch(t *rapid.T) {
	activity := rapid.MapOfN(anyID(), anyTime(), 0, 4).Draw(t, "activity")
	if err := m.store.Touch(m.test.Context(), activity); err != nil {
		t.Fatalf("touch: %v", err)
	}
	for id, when := range activity {
		if s, ok := m.want[id]; ok && when.After(s.LastAccessed) {
			s.LastAccessed = when
			m.want[id] = s
		}
	}
}

// sorted returns the model's sessions that a query chooses, in order.
func (m *model) sorted(q session.Query) []session.Session {
	chosen := slices.DeleteFunc(slices.Collect(maps.Values(m.want)), func(s session.Session) bool {
		return q.Owner != "" && s.Owner != q.Owner || len(q.Statuses) > 0 && !slices.Contains(q.Statuses, s.Status)
	})
	slices.SortFunc(chosen, func(a, b session.Session) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return chosen
}

func (m *model) pages(t *rapid.T) {
	q := session.Query{
		Owner: anyOwner().Draw(t, "owner"), Statuses: rapid.SliceOfN(anyStatus(), 0, 2).Draw(t, "statuses"),
		Limit: rapid.IntRange(1, 4).Draw(t, "limit"),
	}
	want := ids(m.sorted(q))
	got := []session.ID{}
	for {
		page, err := m.store.List(m.test.Context(), q)
		if err != nil {
			t.Fatalf("list %+v: %v", q, err)
		}
		got = append(got, ids(page.Sessions)...)
		if page.Next == "" {
			break
		}
		if len(page.Sessions) != q.Limit {
			t.Fatalf("a page that is not the last has %d sessions, want %d", len(page.Sessions), q.Limit)
		}
		q.After = page.Next
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("pages of %+v (-want +got):\n%s", q, diff)
	}
}

// check compares everything.
func (m *model) check(t *rapid.T) {
	page, err := m.store.List(m.test.Context(), session.Query{})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	want := m.sorted(session.Query{})
	if diff := gocmp.Diff(ids(want), ids(page.Sessions)); diff != "" {
		t.Fatalf("sessions (-want +got):\n%s", diff)
	}
	for i, s := range page.Sessions {
		wantSame(t, s, want[i], "a session in the list")
		got, err := m.store.Get(m.test.Context(), s.ID)
		if err != nil {
			t.Fatalf("get %s: %v", s.ID, err)
		}
		wantSame(t, got, want[i], "the same session, got")
	}
}
