package record_test

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
	"berth/internal/storage/record"
	"berth/internal/storetest"
)

// full returns a session with every field set.
func full() session.Session {
	s := storetest.Full("ses-a")
	s.Revision = 7
	return s
}

// leaves calls change for every value in v that is not made of others, with its name. A nil pointer is one of them.
func leaves(name string, v reflect.Value, change func(name string, leaf reflect.Value)) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		change(name, v)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			leaves(name+"."+v.Type().Field(i).Name, v.Field(i), change)
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		leaves(name, v.Elem(), change)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			leaves(fmt.Sprintf("%s[%d]", name, i), v.Index(i), change)
		}
	default:
		change(name, v)
	}
}

// spoil changes a value, in place if it has parts.
func spoil(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch at, isTime := reflect.TypeAssert[time.Time](v); {
	case isTime:
		v.Set(reflect.ValueOf(at.Add(time.Hour)))
	case v.Kind() == reflect.String:
		v.SetString(v.String() + " spoiled")
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case v.Kind() == reflect.Map:
		v.SetMapIndex(reflect.ValueOf("spoiled"), reflect.ValueOf("spoiled"))
	default:
		t.Fatalf("%s: this test cannot change a %s", name, v.Type())
	}
}

// Every field belongs to one group, and is copied with it.
func TestEveryFieldIsComparedAndTaken(t *testing.T) {
	t.Parallel()
	count := 0
	whole := full()
	leaves("Session", reflect.ValueOf(&whole).Elem(), func(string, reflect.Value) { count++ })
	if count < 40 {
		t.Fatalf("got %d values in a session, want all of them", count)
	}
	for i := range count {
		base, changed, name, n := full(), full(), "", 0
		leaves("Session", reflect.ValueOf(&changed).Elem(), func(at string, leaf reflect.Value) {
			if n == i {
				name = at
				spoil(t, at, leaf)
			}
			n++
		})
		group := record.Changed(&base, &changed)
		if bits.OnesCount8(uint8(group)) != 1 {
			t.Errorf("%s: another value changes the groups %08b, want one", name, group)
			continue
		}
		if back := record.Changed(&changed, &base); back != group {
			t.Errorf("%s: seen from the other side it changes %s, want %s", name, back, group)
		}
		record.Take(&base, &changed, ^group)
		if record.Changed(&base, &changed) != group {
			t.Errorf("%s: it was copied with other groups than %s", name, group)
		}
		record.Take(&base, &changed, group)
		if diff := cmp.Diff(changed, base); diff != "" || record.Changed(&base, &changed) != 0 {
			t.Errorf("%s: after taking %s over (-want +got):\n%s", name, group, diff)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	t.Parallel()
	original := full()
	original.Metadata = session.Metadata{"object": map[string]any{"a": "x"}, "list": []any{"x", map[string]any{"b": "x"}}}
	want := full()
	want.Metadata = session.Metadata{"object": map[string]any{"a": "x"}, "list": []any{"x", map[string]any{"b": "x"}}}
	clone := original.Clone()
	if diff := cmp.Diff(want, clone); diff != "" {
		t.Errorf("the clone (-want +got):\n%s", diff)
	}
	leaves("Session", reflect.ValueOf(&clone).Elem(), func(name string, leaf reflect.Value) { spoil(t, name, leaf) })
	clone.Metadata["object"].(map[string]any)["a"] = "spoiled"
	clone.Metadata["list"].([]any)[0] = "spoiled"
	clone.Metadata["list"].([]any)[1].(map[string]any)["b"] = "spoiled"
	if diff := cmp.Diff(want, original); diff != "" {
		t.Errorf("the original after changes of its clone (-want +got):\n%s", diff)
	}
}

func TestNormalKeepsWhatColumnsSay(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]session.Session{
		"every field":            full(),
		"no field":               {},
		"empty metadata":         {Metadata: session.Metadata{}},
		"operation without more": {Operation: &session.Operation{Kind: session.OpStop}},
	} {
		got, err := record.Normal(s)
		if err != nil || record.Changed(&got, &s) != 0 {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, cmp.Diff(s, got))
		}
	}
	zone := time.FixedZone("east", 3600)
	s := session.Session{CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6789, zone)}
	if got, err := record.Normal(s); err != nil || got.CreatedAt != time.Date(2026, 1, 2, 2, 4, 5, 6000, time.UTC) {
		t.Errorf("got %s, %v; want UTC and microseconds", got.CreatedAt, err)
	}
	s.Metadata = session.Metadata{"f": func() {}}
	if _, err := record.Normal(s); session.CodeOf(err) != session.CodeInvalid {
		t.Errorf("metadata without a form in JSON: got %v, want it invalid", err)
	}
}

// Every column is empty, or null, for an empty session, and a null makes it so again.
func TestColumnsOfEmptySession(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, c := range record.Columns() {
		if names[c.Name] {
			t.Errorf("the column %s is there twice", c.Name)
		}
		names[c.Name] = true
		s := full()
		if value, err := c.Get(&s); err != nil || value == nil {
			t.Errorf("%s of a full session: got %v, %v; want a value", c.Name, value, err)
		}
		if err := c.Set(&s, nil); err != nil {
			t.Errorf("%s: set to null: %v", c.Name, err)
		}
		value, err := c.Get(&s)
		if err != nil || value != nil && !reflect.ValueOf(value).IsZero() {
			t.Errorf("%s after null: got %v, %v; want it empty", c.Name, value, err)
		}
		if c.Type != record.Document {
			continue
		}
		s, want := full(), full()
		if err := c.Set(&s, json.RawMessage(`"text"`)); err == nil || record.Changed(&s, &want) != 0 {
			t.Errorf("%s: set to another kind of JSON: got %v; want an error and no change", c.Name, err)
		}
	}
}
