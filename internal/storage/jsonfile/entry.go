package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// entry is one session as stored in the file: a JSON object with the session's columns as members. It is immutable.
type entry struct {
	session session.Session
	extra   map[string]json.RawMessage // unknown members
	raw     []byte                     // the JSON object
}

var columns = record.Columns()

func encodeEntry(s session.Session, extra map[string]json.RawMessage) ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, c := range columns {
		value, err := c.Get(&s)
		var text []byte
		if err == nil {
			text, err = json.Marshal(value)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		if i > 0 {
			out.WriteByte(',')
		}
		writeMember(&out, c.Name, text)
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		out.WriteByte(',')
		writeMember(&out, name, extra[name])
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// decodeEntry reads the session of that name. Missing columns and null are empty values, except for the required ones.
func decodeEntry(name string, raw []byte) (*entry, error) {
	extra, err := members(raw)
	if err != nil {
		return nil, err
	}
	var s session.Session
	for _, c := range columns {
		text, ok := extra[c.Name]
		if !ok {
			continue
		}
		value, err := decodeValue(c.Type, text)
		if err == nil {
			err = c.Set(&s, value)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		delete(extra, c.Name)
	}
	switch {
	case s.ID == "":
		return nil, errors.New("it has no session_id")
	case !s.Status.Valid():
		return nil, fmt.Errorf("it has the status %q", s.Status)
	case s.Revision < 1:
		return nil, fmt.Errorf("it has the revision %d", s.Revision)
	case string(s.ID) != name:
		return nil, errors.New("its session_id is another one")
	}
	return &entry{session: s, extra: extra, raw: raw}, nil
}

func decodeValue(kind record.ColumnType, text json.RawMessage) (any, error) {
	switch {
	case string(text) == "null":
		return nil, nil
	case kind == record.Number:
		return as[int64](text)
	case kind == record.Instant: // RFC 3339 in any zone
		return as[time.Time](text)
	case kind == record.Document:
		return text, nil
	}
	return as[string](text)
}

func as[T any](text []byte) (any, error) {
	var value T
	err := json.Unmarshal(text, &value)
	return value, err
}

// seal makes the entry of a session by encoding a file with it and decoding that: the store has only sessions that can be read
// back, memory and disk are the same, and the entry shares nothing with its source. It returns a CodeInvalid error for a
// session that cannot be encoded.
func seal(s session.Session, extra map[string]json.RawMessage) (*entry, error) {
	raw, err := encodeEntry(s, extra)
	if err == nil {
		var im image
		if im, err = decode((image{sessions: map[session.ID]*entry{s.ID: {raw: raw}}}).encode()); err == nil {
			if e, ok := im.sessions[s.ID]; ok {
				return e, nil
			}
			err = errors.New("its ID is not UTF-8")
		}
	}
	return nil, record.Unstorable(err)
}

// at returns a copy of the entry's session that shares nothing with it, with activity up to when.
func (e *entry) at(when time.Time) session.Session {
	s := e.session.Clone()
	s.LastAccessed = later(s.LastAccessed, when)
	return s
}
