package session

import (
	"cmp"
	"encoding/json"
	"reflect"
	"time"
)

// Column is one value of a session as stores keep it, under the same name in every store.
type Column struct {
	Name string
	Type ColumnType
	// Get returns a string, an int64, a time.Time or a json.RawMessage, as Type says; nil is null.
	Get func(*Session) (any, error)
	// Set takes what Get returns; nil makes the column empty. Only a document that does not fit is an error, which changes
	// nothing. The columns of a session are to be set in the order in which [Columns] lists them.
	Set func(*Session, any) error
}

// ColumnType is the type of a [Column]'s values.
type ColumnType int

// The types.
const (
	Text     ColumnType = iota // string
	Number                     // int64
	Instant                    // time.Time, in UTC and cut to microseconds
	Document                   // json.RawMessage
)

// field is what is set and compared as one: one column, or those of the operation.
type field struct {
	group   Group
	columns []Column
	same    func(a, b *Session) bool
	take    func(to, from *Session) // shares nothing mutable with from, which may be to
	deep    bool                    // an assignment would share something
}

// InstantOf returns t as every store keeps it: in UTC, cut to microseconds.
func InstantOf(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func text[T ~string](g Group, name string, at func(*Session) *T) field {
	return field{g, []Column{{
		name, Text,
		func(s *Session) (any, error) { return string(*at(s)), nil },
		func(s *Session, value any) error {
			v, _ := value.(string)
			*at(s) = T(v)
			return nil
		},
	}}, same(at), take(at), false}
}

func number[T ~int | ~int64](g Group, name string, at func(*Session) *T) field {
	return field{g, []Column{{
		name, Number,
		func(s *Session) (any, error) { return int64(*at(s)), nil },
		func(s *Session, value any) error {
			v, _ := value.(int64)
			*at(s) = T(v)
			return nil
		},
	}}, same(at), take(at), false}
}

// instant is a time that is null when it is zero.
func instant(g Group, name string, at func(*Session) *time.Time) field {
	return field{g, []Column{{
		name, Instant,
		func(s *Session) (any, error) { return instantOrNull(*at(s)), nil },
		func(s *Session, value any) error {
			v, _ := value.(time.Time)
			*at(s) = InstantOf(v)
			return nil
		},
	}}, func(a, b *Session) bool { return at(a).Equal(*at(b)) }, take(at), false}
}

// document is a value that is kept as JSON.
func document[T any](g Group, name string, at func(*Session) *T, clone func(T) T) field {
	return field{
		g,
		[]Column{{
			name, Document,
			func(s *Session) (any, error) {
				text, err := json.Marshal(*at(s))
				if err != nil || string(text) == "null" {
					return nil, err
				}
				return json.RawMessage(text), nil
			},
			func(s *Session, value any) error {
				var v T
				if text, ok := value.(json.RawMessage); ok {
					if err := json.Unmarshal(text, &v); err != nil {
						return err
					}
				}
				*at(s) = v
				return nil
			},
		}},
		func(a, b *Session) bool { return reflect.DeepEqual(*at(a), *at(b)) },
		func(to, from *Session) { *at(to) = clone(*at(from)) },
		true,
	}
}

// operation is the work in progress in three columns, which are null when nothing is being done. The first one makes the
// operation, which the others are parts of.
func operation(g Group) field {
	none := &Operation{}
	of := func(s *Session) *Operation { return cmp.Or(s.Operation, none) }
	return field{
		g,
		[]Column{
			{
				"operation", Text,
				func(s *Session) (any, error) { return textOrNull(string(of(s).Kind)), nil },
				func(s *Session, value any) error {
					s.Operation = nil
					if kind, _ := value.(string); kind != "" {
						s.Operation = &Operation{Kind: Kind(kind)}
					}
					return nil
				},
			},
			{
				"operation_owner", Text,
				func(s *Session) (any, error) { return textOrNull(of(s).Owner), nil },
				func(s *Session, value any) error {
					if s.Operation != nil {
						s.Operation.Owner, _ = value.(string)
					}
					return nil
				},
			},
			{
				"operation_deadline", Instant,
				func(s *Session) (any, error) { return instantOrNull(of(s).Deadline), nil },
				func(s *Session, value any) error {
					if s.Operation != nil {
						deadline, _ := value.(time.Time)
						s.Operation.Deadline = InstantOf(deadline)
					}
					return nil
				},
			},
		},
		func(a, b *Session) bool {
			return a.Operation == nil && b.Operation == nil || a.Operation.Same(b.Operation)
		},
		func(to, from *Session) {
			if to.Operation = from.Operation; from.Operation != nil {
				to.Operation = new(*from.Operation)
			}
		},
		true,
	}
}

func instantOrNull(t time.Time) any {
	if t = InstantOf(t); t.IsZero() {
		return nil
	}
	return t
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func same[T comparable](at func(*Session) *T) func(a, b *Session) bool {
	return func(a, b *Session) bool { return *at(a) == *at(b) }
}

func take[T any](at func(*Session) *T) func(to, from *Session) {
	return func(to, from *Session) { *at(to) = *at(from) }
}
