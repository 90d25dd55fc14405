package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/record"
)

var (
	// columns are those of the table sessions, in the order of [values] and [scanner].
	columns = record.Columns()
	// selected lists their names.
	selected = list(func(c record.Column) string { return c.Name })
)

func list(of func(record.Column) string) string {
	all := make([]string, len(columns))
	for i, c := range columns {
		all[i] = of(c)
	}
	return strings.Join(all, ", ")
}

// placeholder is the parameter of a column's value in [values]: "$5".
func placeholder(name string) string {
	at := slices.IndexFunc(columns, func(c record.Column) bool { return c.Name == name })
	return fmt.Sprintf("$%d", at+1)
}

// placeholders are those of all columns with their types, which a SELECT needs.
func placeholders() string {
	types := map[record.ColumnType]string{
		record.Text: "varchar", record.Number: "bigint", record.Instant: "timestamptz", record.Document: "jsonb",
	}
	return list(func(c record.Column) string { return placeholder(c.Name) + "::" + types[c.Type] })
}

// assignments writes "owner = $11, …" for every column but the key.
func assignments(except ...string) string {
	var all []string
	for _, c := range columns {
		if c.Name != "session_id" && !slices.Contains(except, c.Name) {
			all = append(all, c.Name+" = "+placeholder(c.Name))
		}
	}
	return strings.Join(all, ", ")
}

// values are the column values of a session. A session that cannot be encoded in JSON is a CodeInvalid error.
func values(s session.Session) ([]any, error) {
	all := make([]any, len(columns))
	for i, c := range columns {
		value, err := c.Get(&s)
		if err != nil {
			return nil, record.Unstorable(fmt.Errorf("column %s: %w", c.Name, err))
		}
		if text, ok := value.(json.RawMessage); ok {
			value = string(text) // in the simple protocol bytes would be a BYTEA
		}
		if value == nil && c.Name == "created_at" { // the column is not null
			value = time.Time{}
		}
		all[i] = value
	}
	return all, nil
}

// cell is one value of a row, in the field of its column's type.
type cell struct {
	text     pgtype.Text
	number   pgtype.Int8
	instant  pgtype.Timestamptz
	document []byte // nil: null
}

func (c *cell) target(kind record.ColumnType) any {
	switch kind {
	case record.Number:
		return &c.number
	case record.Instant:
		return &c.instant
	case record.Document:
		return &c.document
	default:
		return &c.text
	}
}

func (c *cell) value() any {
	switch {
	case c.text.Valid:
		return c.text.String
	case c.number.Valid:
		return c.number.Int64
	case c.instant.Valid:
		return c.instant.Time
	case c.document != nil:
		return json.RawMessage(c.document)
	}
	return nil
}

// scanner returns a function that reads the rows of one query. A row with invalid values is a session in the status error, so
// that it does not prevent others from being read and can be deleted.
func scanner() pgx.RowToFunc[session.Session] {
	cells, targets := make([]cell, len(columns)), make([]any, len(columns))
	for i, c := range columns {
		targets[i] = cells[i].target(c.Type)
	}
	return func(row pgx.CollectableRow) (session.Session, error) {
		var s session.Session
		if err := row.Scan(targets...); err != nil {
			return session.Session{}, err
		}
		for i, c := range columns {
			if c.Set(&s, cells[i].value()) == nil {
				continue
			}
			// The JSON was not written by Berth. Metadata belongs to the platform and is kept; other columns are dropped.
			var instead any
			if c.Name == "metadata" {
				instead = json.RawMessage(slices.Concat([]byte(`{"metadata":`), cells[i].document, []byte("}")))
			}
			_ = c.Set(&s, instead) // every column accepts it
		}
		if !s.Status.Valid() {
			lifecycle.Intake(&s, lifecycle.FromDamagedRow, string(s.Status))
		}
		return s, nil
	}
}
