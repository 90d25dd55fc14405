package record

import (
	"cmp"
	"encoding/json"
	"reflect"
	"time"

	"berth/internal/session"
)

// Column is one stored value of a session, with the same name in every store.
type Column struct {
	Name string
	Type ColumnType
	// Get returns a string, an int64, a time.Time or a json.RawMessage, as Type says; nil is null.
	Get func(*session.Session) (any, error)
	// Set sets the column to a result of Get; nil makes it empty. Only a document of another type is an error, and changes
	// nothing. The columns of a session must be set in the order of [Columns].
	Set func(*session.Session, any) error
}

// ColumnType is the type of a [Column]'s values.
type ColumnType int

// The types.
const (
	Text     ColumnType = iota // string
	Number                     // int64
	Instant                    // time.Time, in UTC and truncated to microseconds
	Document                   // json.RawMessage
)

// field is set and compared as a unit: one column, or those of the operation.
type field struct {
	group   Group
	columns []Column
	same    func(a, b *session.Session) bool
	take    func(to, from *session.Session) // shares nothing mutable with from, which may be to
}

// InstantOf returns t as every store keeps it: in UTC, truncated to microseconds.
func InstantOf(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// plain is a field of one column that an assignment copies. V is the type of the column's values.
func plain[T, V any](g Group, name string, kind ColumnType, at func(*session.Session) *T,
	get func(T) any, set func(V) T, equal func(a, b T) bool,
) field {
	return field{
		group: g,
		columns: []Column{{
			name, kind,
			func(s *session.Session) (any, error) { return get(*at(s)), nil },
			func(s *session.Session, value any) error {
				v, _ := value.(V)
				*at(s) = set(v)
				return nil
			},
		}},
		same: func(a, b *session.Session) bool { return equal(*at(a), *at(b)) },
		take: func(to, from *session.Session) { *at(to) = *at(from) },
	}
}

func text[T ~string](g Group, name string, at func(*session.Session) *T) field {
	return plain(g, name, Text, at, func(t T) any { return string(t) }, func(v string) T { return T(v) }, equal[T])
}

// nullable is text that is null when it is empty.
func nullable[T ~string](g Group, name string, at func(*session.Session) *T) field {
	return plain(g, name, Text, at, func(t T) any {
		if t == "" {
			return nil
		}
		return string(t)
	}, func(v string) T { return T(v) }, equal[T])
}

func number[T ~int | ~int64](g Group, name string, at func(*session.Session) *T) field {
	return plain(g, name, Number, at, func(n T) any { return int64(n) }, func(v int64) T { return T(v) }, equal[T])
}

func equal[T comparable](a, b T) bool { return a == b }

// instant is a time that is null when it is zero.
func instant(g Group, name string, at func(*session.Session) *time.Time) field {
	return plain(g, name, Instant, at, func(t time.Time) any {
		if t = InstantOf(t); t.IsZero() {
			return nil
		}
		return t
	}, InstantOf, time.Time.Equal)
}

// document is a value that is stored as JSON.
func document[T any](g Group, name string, at func(*session.Session) *T, clone func(T) T) field {
	return field{
		group: g,
		columns: []Column{{
			name, Document,
			func(s *session.Session) (any, error) {
				text, err := json.Marshal(*at(s))
				if err != nil || string(text) == "null" {
					return nil, err
				}
				return json.RawMessage(text), nil
			},
			func(s *session.Session, value any) error {
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
		same: func(a, b *session.Session) bool { return reflect.DeepEqual(*at(a), *at(b)) },
		take: func(to, from *session.Session) { *at(to) = clone(*at(from)) },
	}
}

// operation is the operation in progress in three columns, which are null without one. The first column creates the operation;
// without it, the values of the others are ignored.
func operation(g Group) field {
	of := func(s *session.Session) *session.Operation { return cmp.Or(s.Operation, new(session.Operation)) }
	parts := []field{
		nullable(g, "operation", func(s *session.Session) *session.Kind { return &of(s).Kind }),
		nullable(g, "operation_owner", func(s *session.Session) *string { return &of(s).Owner }),
		instant(g, "operation_deadline", func(s *session.Session) *time.Time { return &of(s).Deadline }),
	}
	whole := field{
		group: g,
		same: func(a, b *session.Session) bool {
			return a.Operation == nil && b.Operation == nil || a.Operation.Same(b.Operation)
		},
		take: func(to, from *session.Session) {
			if to.Operation = from.Operation; from.Operation != nil {
				to.Operation = new(*from.Operation)
			}
		},
	}
	for _, p := range parts {
		whole.columns = append(whole.columns, p.columns...)
	}
	whole.columns[0].Set = func(s *session.Session, value any) error {
		s.Operation = nil
		if kind, _ := value.(string); kind != "" {
			s.Operation = &session.Operation{Kind: session.Kind(kind)}
		}
		return nil
	}
	return whole
}
