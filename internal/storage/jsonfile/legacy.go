package jsonfile

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/record"
)

// legacyEntry is one session of the legacy service: the ten columns of its table.
type legacyEntry struct {
	ID            string          `json:"session_id"`
	ContainerName string          `json:"container_name"`
	ContainerID   string          `json:"container_id"`
	HostDir       string          `json:"host_dir"`
	Port          json.RawMessage `json:"port"`
	Token         string          `json:"auth_token"`
	CreatedAt     json.RawMessage `json:"created_at"`
	LastAccessed  json.RawMessage `json:"last_accessed"`
	Status        string          `json:"status"`
	Metadata      json.RawMessage `json:"metadata"`
}

// readLegacy reads an entry of the legacy service.
func readLegacy(l listed, digest func(string) string) (session.Session, error) {
	if _, err := members(l.raw); err != nil {
		return session.Session{}, err
	}
	var e legacyEntry
	if err := json.Unmarshal(l.raw, &e); err != nil {
		if fault, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return session.Session{}, fmt.Errorf("column %s: a JSON %s does not belong there", fault.Field, fault.Value)
		}
		return session.Session{}, errors.New("it is not a JSON object of columns")
	}
	if l.key {
		e.ID = cmp.Or(e.ID, l.name)
		if e.ID != l.name {
			return session.Session{}, errors.New("its session_id is another one")
		}
	}
	if e.ID == "" {
		return session.Session{}, errors.New("it has no session_id")
	}
	id, err := session.ParseID(e.ID)
	if err != nil {
		return session.Session{}, errors.New("its session_id is not 1 to 63 characters of a-z, 0-9, - and _")
	}
	s := session.Session{
		ID: id, ContainerName: cmp.Or(e.ContainerName, "berth-"+string(id)), ContainerID: e.ContainerID, HostDir: e.HostDir, Revision: 1,
	}
	if e.Token != "" {
		s.Token.Digest = digest(e.Token)
	}
	if s.CreatedAt, err = legacyTime(e.CreatedAt); err != nil || s.CreatedAt.IsZero() {
		return session.Session{}, errors.New("column created_at: it is not a time")
	}
	if s.LastAccessed, err = legacyTime(e.LastAccessed); err != nil {
		return session.Session{}, errors.New("column last_accessed: it is not a time")
	}
	if s.Metadata, err = legacyMetadata(e.Metadata); err != nil {
		return session.Session{}, err
	}
	if err := checkPort(e.Port); err != nil {
		return session.Session{}, err
	}
	if !lifecycle.Intake(&s, lifecycle.FromLegacyFile, strings.ToLower(e.Status)) {
		return session.Session{}, errors.New("column status: it is none of creating, running, stopped and error")
	}
	return s, nil
}

// legacyTime reads a time, in UTC if it has no zone, or seconds since 1970. Null is the zero time.
func legacyTime(raw json.RawMessage) (time.Time, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return time.Time{}, nil
	}
	var seconds float64
	if err := json.Unmarshal(raw, &seconds); err == nil {
		if seconds < 0 || seconds > 253402300799 { // the end of the year 9999
			return time.Time{}, errors.New("out of range")
		}
		return time.UnixMicro(int64(seconds * 1e6)).UTC(), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return time.Time{}, err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			t = record.InstantOf(t)
			if t.Year() < 1 || t.Year() > 9999 {
				break
			}
			return t, nil
		}
	}
	return time.Time{}, errors.New("not a time")
}

// legacyMetadata reads an object, or one that is encoded as a string. Null and an empty string are empty.
func legacyMetadata(raw json.RawMessage) (session.Metadata, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if raw = json.RawMessage(text); strings.TrimSpace(text) == "" {
			return nil, nil
		}
	}
	var metadata session.Metadata
	if err := json.Unmarshal(raw, &metadata); err != nil {
		return nil, errors.New("column metadata: it is not a JSON object")
	}
	return metadata, nil
}

// checkPort accepts a port number, also as a string. The port itself is not kept: it belonged to the old container.
func checkPort(raw json.RawMessage) error {
	text := strings.Trim(string(raw), `"`)
	if text == "" || text == "null" {
		return nil
	}
	if port, err := strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return errors.New("column port: it is not the number of a port")
	}
	return nil
}
