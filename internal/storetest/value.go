package storetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

func valueFields(t *testing.T, store session.Store) {
	s := Full("ses-a")
	s.Revision = 1
	for _, v := range []reflect.Value{reflect.ValueOf(s), reflect.ValueOf(s.Token)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("this suite does not test the field %s of %s", v.Type().Field(i).Name, v.Type())
			}
		}
	}
	create(t, store, s)
	wantSame(t, get(t, store, "ses-a"), s, "a session without an empty field")
}

func valueEmpty(t *testing.T, store session.Store) {
	s := session.Session{ID: "a", Status: session.Stopped, CreatedAt: epoch}
	create(t, store, s)
	s.Revision = 1
	wantSame(t, get(t, store, "a"), s, "a session with an ID, a status and a time of creation")

	s.ID, s.Metadata = "b", map[string]any{}
	create(t, store, s)
	wantSame(t, get(t, store, "b"), s, "a session with empty metadata")

	s.ID, s.Operation = "c", &session.Operation{Kind: session.OpStop}
	create(t, store, s)
	wantSame(t, get(t, store, "c"), s, "an operation without owner and deadline")
}

func valueMetadata(t *testing.T, store session.Store) {
	s := idle("ses-a")
	s.Metadata = map[string]any{
		"null": nil, "true": true, "false": false, "text": "x", "empty text": "", "zero": 0, "negative": -17, "fraction": 0.1,
		"large": 1e21, "small": 5e-324, "exact": 1<<53 - 1,
		"list": []any{nil, false, 1.5, "x", []any{}, map[string]any{}}, "object": map[string]any{"a": map[string]any{"b": []any{1.0}}},
		"": "an empty name", "with\"quotes\\ and / and \t": "<script>&</script>", "Case": 1, "case": 2, "metadata": "its own name",
	}
	create(t, store, s)
	s.Revision = 1
	wantSame(t, get(t, store, "ses-a"), s, "metadata of every kind")
	wantSame(t, list(t, store, session.Query{}).Sessions[0], s, "metadata of every kind in a list")

	s.Metadata = map[string]any{"text": "y"}
	update(t, store, s)
	s.Revision = 2
	wantSame(t, get(t, store, "ses-a"), s, "metadata after an update, which replaces and does not merge")
}

func valueNumbers(t *testing.T, store session.Store) {
	written := map[string]string{
		"beyond float64": "9007199254740993", "fraction of zero": "1.0", "cents": "12.50", "23 digits": "12345678901234567890123", "negative": "-9007199254740993",
		"long fraction": "0.12345678901234567890123", "huge": "1" + strings.Repeat("0", 400), "tiny": "0." + strings.Repeat("0", 400) + "1",
		"scaled up": "1e2", "scaled down": "15e-1", "scaled in vain": "1.50e1", "beyond float64 by far": "1e400", "sign of zero": "-0.0",
	}
	back := maps.Clone(written)
	maps.Copy(back, map[string]string{
		"scaled up": "100", "scaled down": "1.5", "scaled in vain": "15.0", "beyond float64 by far": back["huge"], "sign of zero": "0.0",
	})
	s := idle("ses-a")
	s.Metadata = session.Metadata{}
	for name, number := range written {
		s.Metadata[name] = json.Number(number)
		s.Metadata["list of "+name] = []any{map[string]any{"n": json.Number(number)}}
	}
	check := func(got session.Session, why string) {
		t.Helper()
		for name, number := range back {
			if diff := cmp.Diff(json.Number(number), got.Metadata[name]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", why, name, diff)
			}
			if diff := cmp.Diff([]any{map[string]any{"n": json.Number(number)}}, got.Metadata["list of "+name]); diff != "" {
				t.Errorf("%s: a list of %s (-want +got):\n%s", why, name, diff)
			}
		}
	}
	check(create(t, store, s), "the answer of create")
	got := get(t, store, "ses-a")
	check(got, "read back")
	check(list(t, store, session.Query{}).Sessions[0], "in a list")
	got.Owner = "bob"
	check(update(t, store, got), "after an update of something else")
	check(get(t, store, "ses-a"), "read back after an update of something else")
}

func valueNUL(t *testing.T, store session.Store) {
	create(t, store, idle("ses-b"))
	for i, metadata := range []session.Metadata{
		{"a": "x\x00y"}, {"a\x00": 1}, {"a": []any{map[string]any{"b": "\x00"}}},
	} {
		s := idle("ses-a")
		s.Metadata = metadata
		_, err := store.Create(t.Context(), s, session.Quota{})
		wantCode(t, err, session.CodeInvalid, fmt.Sprintf("create with U+0000 in metadata %d", i))
		s.ID, s.Revision = "ses-b", 1
		_, err = store.Update(t.Context(), s, session.Unlimited)
		wantCode(t, err, session.CodeInvalid, fmt.Sprintf("update with U+0000 in metadata %d", i))
	}
	wantSame(t, get(t, store, "ses-b"), func() session.Session { s := idle("ses-b"); s.Revision = 1; return s }(), "a session after refused updates")
	if _, err := store.Get(t.Context(), "ses-a"); session.CodeOf(err) != session.CodeNotFound {
		t.Errorf("a session whose create was refused: got %v, want not found", err)
	}
}

func valueLarge(t *testing.T, store session.Store) {
	s := idle("ses-a")
	s.Metadata = map[string]any{"text": strings.Repeat("0123456789abcdef", 4<<10)} // 64 KiB, the domain's limit
	for i := range 1000 {
		s.Metadata[fmt.Sprint("name ", i)] = map[string]any{"n": i}
	}
	create(t, store, s)
	s.Revision = 1
	wantSame(t, get(t, store, "ses-a"), s, "64 KiB of metadata")

	for i := range 20 {
		other := s
		other.ID = numbered(i)
		create(t, store, other)
	}
	if got := list(t, store, session.Query{}).Sessions; len(got) != 21 || len(got[20].Metadata) != 1001 {
		t.Errorf("got %d sessions with large metadata, want 21", len(got))
	}
}

func valueUnicode(t *testing.T, store session.Store) {
	for i, text := range []string{
		"ærlig språk", "日本語のセッション", "עברית וערבית عربي", "👩‍🔬 e\u0301", "\u2028 \u2029 \ufeff", "'; DROP TABLE sessions; --", `\u0041 \" \n`, "%s %d",
	} {
		s := idle(numbered(i))
		s.Owner, s.Image, s.LastError, s.HostDir = text, text, text, "/"+text
		s.Metadata = map[string]any{text: text}
		create(t, store, s)
		s.Revision = 1
		wantSame(t, get(t, store, s.ID), s, "text in another script")
		if got := list(t, store, session.Query{Owner: text}).Sessions; len(got) != 1 || got[0].ID != s.ID {
			t.Errorf("the owner %q has the sessions %v, want %s", text, ids(got), s.ID)
		}
	}
}

func valueTimes(t *testing.T, store session.Store) {
	zone := time.FixedZone("east", 5*3600+1800)
	given, want := Full("ses-a"), Full("ses-a")
	for i, field := range []func(*session.Session) *time.Time{
		func(s *session.Session) *time.Time { return &s.CreatedAt },
		func(s *session.Session) *time.Time { return &s.LastAccessed },
		func(s *session.Session) *time.Time { return &s.ExpiresAt },
		func(s *session.Session) *time.Time { return &s.Token.ExpiresAt },
		func(s *session.Session) *time.Time { return &s.Token.RotatedAt },
		func(s *session.Session) *time.Time { return &s.Token.PreviousExpiresAt },
		func(s *session.Session) *time.Time { return &s.Operation.Deadline },
	} {
		*field(&want) = at(i)
		*field(&given) = at(i).Add(999 * time.Nanosecond).In(zone)
	}
	want.Revision = 1
	wantSame(t, create(t, store, given), want, "the answer of create, given nanoseconds in another zone")
	wantSame(t, get(t, store, "ses-a"), want, "times with nanoseconds in another zone, read back")
	given.Revision = 1
	want.Revision = 2
	wantSame(t, update(t, store, given), want, "the answer of update, given nanoseconds in another zone")

	far := idle("ses-b")
	far.CreatedAt = time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC)
	far.ExpiresAt = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	create(t, store, far)
	far.Revision = 1
	wantSame(t, get(t, store, "ses-b"), far, "times long ago and far away")
}

func valueAliases(t *testing.T, store session.Store) {
	made := func() session.Session {
		s := Full("ses-a")
		s.Metadata = map[string]any{"text": "x", "object": map[string]any{"a": "x"}, "list": []any{"x"}}
		return s
	}
	spoil := func(s session.Session) {
		s.Metadata["object"].(map[string]any)["a"] = "spoiled"
		s.Metadata["list"].([]any)[0] = "spoiled"
		s.Metadata["text"] = "spoiled"
		s.Metadata["more"] = "spoiled"
		s.Operation.Owner = "spoiled"
	}
	want := made()
	want.Revision = 1
	check := func(why string) {
		t.Helper()
		wantSame(t, get(t, store, "ses-a"), want, "the session after a change of "+why)
	}

	given := made()
	answer := create(t, store, given)
	spoil(given)
	check("what was given to create")
	spoil(answer)
	check("what create answered")
	spoil(get(t, store, "ses-a"))
	check("what get answered")
	spoil(list(t, store, session.Query{}).Sessions[0])
	check("what list answered")

	given = made()
	given.Revision = 1
	answer = update(t, store, given)
	want.Revision = 2
	spoil(given)
	check("what was given to update")
	spoil(answer)
	check("what update answered")
}
