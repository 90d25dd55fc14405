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
)

// column is one member of an entry and where its value lives in a session.
type column struct {
	name  string
	value any // a pointer that encoding/json can write from and read into
}

// columns lists every member of an entry, in the order in which they are written. The names are the contract's.
func columns(s *session.Session, op *session.Operation) []column {
	return []column{
		{"session_id", &s.ID},
		{"container_name", &s.ContainerName},
		{"container_id", &s.ContainerID},
		{"host_dir", &s.HostDir},
		{"port", &s.Port},
		{"auth_token", &s.Token.Digest},
		{"created_at", (*instant)(&s.CreatedAt)},
		{"last_accessed", (*instant)(&s.LastAccessed)},
		{"status", &s.Status},
		{"metadata", &s.Metadata},
		{"owner", &s.Owner},
		{"image", &s.Image},
		{"profile", &s.Profile},
		{"host", &s.Host},
		{"token_expires_at", (*instant)(&s.Token.ExpiresAt)},
		{"token_rotated_at", (*instant)(&s.Token.RotatedAt)},
		{"expires_at", (*instant)(&s.ExpiresAt)},
		{"last_error", &s.LastError},
		{"operation", (*optional)(&op.Kind)},
		{"operation_owner", (*optional)(&op.Owner)},
		{"operation_deadline", (*instant)(&op.Deadline)},
		{"restart_count", &s.RestartCount},
		{"revision", &s.Revision},
		{"stop_reason", &s.StopReason},
		{"timeline", &s.Timeline},
		{"previous_auth_token", &s.Token.PreviousDigest},
		{"previous_token_expires_at", (*instant)(&s.Token.PreviousExpiresAt)},
		{"image_source", &s.ImageSource},
		{"upgrade", &s.Upgrade},
	}
}

func encodeEntry(s session.Session, extra map[string]json.RawMessage) ([]byte, error) {
	var op session.Operation
	if s.Operation != nil {
		op = *s.Operation
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i, c := range columns(&s, &op) {
		value, err := json.Marshal(c.value)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
		if i > 0 {
			out.WriteByte(',')
		}
		writeMember(&out, c.name, value)
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		out.WriteByte(',')
		writeMember(&out, name, extra[name])
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// decodeEntry reads one session. Columns that are missing or null are empty, but for those without which there is no
// session.
func decodeEntry(raw []byte) (*entry, error) {
	extra, err := members(raw)
	if err != nil {
		return nil, err
	}
	var s session.Session
	var op session.Operation
	for _, c := range columns(&s, &op) {
		value, ok := extra[c.name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(value, c.value); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
		delete(extra, c.name)
	}
	switch {
	case s.ID == "":
		return nil, errors.New("it has no session_id")
	case !s.Status.Valid():
		return nil, fmt.Errorf("it has the status %q", s.Status)
	case s.Revision < 1:
		return nil, fmt.Errorf("it has the revision %d", s.Revision)
	}
	if op != (session.Operation{}) {
		s.Operation = &op
	}
	return &entry{session: s, extra: extra, raw: raw}, nil
}

// instant is a time as every store keeps it: UTC, to the microsecond, null for the zero time.
type instant time.Time

func instantOf(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// MarshalJSON writes RFC 3339 or null.
func (i instant) MarshalJSON() ([]byte, error) {
	t := instantOf(time.Time(i))
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.MarshalJSON()
}

// UnmarshalJSON reads RFC 3339 in any zone, or null.
func (i *instant) UnmarshalJSON(text []byte) error {
	var t time.Time
	if err := t.UnmarshalJSON(text); err != nil {
		return err
	}
	*i = instant(instantOf(t))
	return nil
}

// optional is text that is null when it is empty.
type optional string

// MarshalJSON writes a string or null.
func (o optional) MarshalJSON() ([]byte, error) {
	if o == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(o))
}
