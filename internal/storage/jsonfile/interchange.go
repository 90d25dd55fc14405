package jsonfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"berth/internal/access"
	"berth/internal/session"
)

// The formats that [Read] knows.
const (
	FormatBerth  = "berth"  // a store's file
	FormatLegacy = "legacy" // of the legacy service: the ten columns of its table, tokens in clear text
)

// Contents is the readable content of a file.
type Contents struct {
	Format   string
	Sessions []session.Session // in the order of their IDs
	Rejected []Rejected
	Retired  bool // see [Store.Retire]

	PlatformTokens []access.PlatformToken // in the order of their IDs; of a store's file
}

// Rejected is an entry that cannot be read.
type Rejected struct {
	Name   string          `json:"name"`   // its key in the file, or its position
	Reason string          `json:"reason"` // for operators; without secrets
	Raw    json.RawMessage `json:"-"`      // the unchanged entry; it may contain a token
}

// Read reads a file of either format, entry by entry: a damaged entry does not prevent others from being read. Tokens in clear
// text are replaced by their digests. An error means that nothing can be read.
func Read(data []byte, digest func(token string) string) (Contents, error) {
	if err := whole(data); err != nil {
		return Contents{}, fmt.Errorf("the file %w", err)
	}
	contents := Contents{Format: FormatLegacy}
	read := func(e listed) (session.Session, error) { return readLegacy(e, digest) }
	entries, err := envelope(data, &contents)
	if err != nil {
		return Contents{}, err
	}
	if contents.Format == FormatBerth {
		read = readOwn
	}
	seen := map[session.ID]bool{}
	for _, e := range entries {
		if e.key && e.name == retiredName {
			contents.Retired = true
			continue
		}
		s, err := read(e)
		if err == nil && seen[s.ID] {
			err = fmt.Errorf("there is another entry with the session_id %q", s.ID)
		}
		if err != nil {
			contents.Rejected = append(contents.Rejected, Rejected{Name: e.name, Reason: err.Error(), Raw: e.raw})
			continue
		}
		seen[s.ID] = true
		contents.Sessions = append(contents.Sessions, s)
	}
	slices.SortFunc(contents.Sessions, func(a, b session.Session) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	return contents, nil
}

// listed is one entry of a file.
type listed struct {
	name string // its key; its position in an array
	key  bool   // the name is a key
	raw  json.RawMessage
}

// envelope returns the entries, and their format in contents.
func envelope(data []byte, contents *Contents) ([]listed, error) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		return elements(data)
	}
	top, err := members(data)
	if err != nil {
		return nil, fmt.Errorf("the file holds no sessions: %w", err)
	}
	if text, own := top[versionMember]; own {
		var version int
		if err := json.Unmarshal(text, &version); err != nil || version < 1 || version > formatVersion {
			return nil, fmt.Errorf("the file has format %s; this Berth reads up to %d", text, formatVersion)
		}
		contents.Format = FormatBerth
		if contents.PlatformTokens, err = tokensOf(top); err != nil {
			return nil, fmt.Errorf("the file %w", err)
		}
		return keyed(top[entriesMember])
	}
	if list, ok := top[entriesMember]; ok {
		if bytes.HasPrefix(list, []byte("[")) {
			return elements(list)
		}
		return keyed(list)
	}
	return fromMembers(top), nil
}

func elements(data []byte) ([]listed, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("the file holds no sessions: %w", err)
	}
	entries := make([]listed, len(all))
	for i, raw := range all {
		entries[i] = listed{name: strconv.Itoa(i), raw: raw}
	}
	return entries, nil
}

func keyed(data []byte) ([]listed, error) {
	all, err := members(data)
	if err != nil {
		return nil, fmt.Errorf("the file holds no sessions: its member %q: %w", entriesMember, err)
	}
	return fromMembers(all), nil
}

func fromMembers(all map[string]json.RawMessage) []listed {
	entries := make([]listed, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		entries = append(entries, listed{name: name, key: true, raw: all[name]})
	}
	return entries
}

func readOwn(l listed) (session.Session, error) {
	e, err := decodeEntry(l.name, l.raw)
	if err != nil {
		return session.Session{}, err
	}
	return e.session, nil
}

// Write returns a store's file with these sessions and platform tokens. A session that cannot be encoded in JSON is a CodeInvalid
// error.
func Write(sessions []session.Session, tokens ...access.PlatformToken) ([]byte, error) {
	im := image{sessions: make(map[session.ID]*entry, len(sessions))}
	if err := im.setTokens(tokens); err != nil {
		return nil, err
	}
	for _, s := range sessions {
		e, err := seal(s, nil)
		if err != nil {
			return nil, err
		}
		im.sessions[s.ID] = e
	}
	return im.encode(), nil
}
