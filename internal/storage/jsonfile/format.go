package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"berth/internal/session"
)

// The file is one JSON object: {"berth_store": 1, "sessions": {"<session_id>": {<columns>}, ...}}.
const (
	formatVersion = 1
	versionMember = "berth_store"
	entriesMember = "sessions"
)

// image is the content of a file.
type image struct {
	sessions map[session.ID]*entry
	extra    map[string]json.RawMessage // unknown members of the envelope
	retired  bool                       // see [Store.Retire]
}

// encode writes the file: one session per line, in the order of their IDs, so that it can be read and compared.
func (im image) encode() []byte {
	var out bytes.Buffer
	size := 0
	for id, e := range im.sessions {
		size += len(id) + len(e.raw) + len("\"\":,\n")
	}
	out.Grow(size + 1024) // repeated growing would double the time
	out.WriteString(`{"` + versionMember + `":` + strconv.Itoa(formatVersion))
	for _, name := range slices.Sorted(maps.Keys(im.extra)) {
		out.WriteByte(',')
		writeMember(&out, name, im.extra[name])
	}
	out.WriteString(`,"` + entriesMember + `":{`)
	if im.retired {
		out.WriteByte('\n')
		writeMember(&out, retiredName, []byte(retiredEntry))
	}
	for i, id := range slices.Sorted(maps.Keys(im.sessions)) {
		if i > 0 || im.retired {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
		writeMember(&out, string(id), im.sessions[id].raw)
	}
	out.WriteString("\n}}\n")
	return out.Bytes()
}

func writeMember(out *bytes.Buffer, name string, value []byte) {
	key, _ := json.Marshal(name) // a string always has a JSON form
	out.Write(key)
	out.WriteByte(':')
	out.Write(value)
}

// decode reads a file. Its errors complete a sentence that begins with the file's name.
func decode(data []byte) (image, error) {
	if err := whole(data); err != nil {
		return image{}, err
	}
	envelope, err := members(data)
	if err != nil {
		return image{}, fmt.Errorf("is not a Berth session store: %w", err)
	}
	var version int
	if err := json.Unmarshal(envelope[versionMember], &version); err != nil || version < 1 {
		return image{}, fmt.Errorf("is not a Berth session store: it has no member %q with a version", versionMember)
	}
	if version > formatVersion {
		return image{}, fmt.Errorf("has format %d and was written by a newer Berth; this one reads up to %d, so run the newer one",
			version, formatVersion)
	}
	entries, err := members(envelope[entriesMember])
	if err != nil {
		return image{}, fmt.Errorf("is damaged: its member %q: %w", entriesMember, err)
	}
	if _, err := tokensOf(envelope); err != nil {
		return image{}, err
	}
	delete(envelope, versionMember)
	delete(envelope, entriesMember)
	im := image{sessions: make(map[session.ID]*entry, len(entries)), extra: envelope}
	for id, raw := range entries {
		if id == retiredName {
			im.retired = true
			continue
		}
		e, err := decodeEntry(id, raw)
		if err != nil {
			return image{}, fmt.Errorf("is damaged: session %q: %w", id, err)
		}
		im.sessions[e.session.ID] = e
	}
	return im, nil
}

// whole checks that data is one JSON text, and reports the position of the fault.
func whole(data []byte) error {
	if len(data) == 0 {
		return errors.New("is empty: it was cut off")
	}
	var text json.RawMessage
	err := json.Unmarshal(data, &text)
	if fault, ok := errors.AsType[*json.SyntaxError](err); ok {
		if fault.Offset >= int64(len(data)) {
			return fmt.Errorf("ends early: it was cut off after %d bytes", len(data))
		}
		return fmt.Errorf("is not JSON: byte %d does not belong there", fault.Offset)
	}
	if err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	if !utf8.Valid(data) { // encoding/json would replace the bytes silently
		return errors.New("is damaged: it is not UTF-8")
	}
	return nil
}

// members reads a JSON object. A duplicate name is an error: one of the values would be lost.
func members(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("there is no JSON object")
	}
	found := map[string]json.RawMessage{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read a name: %w", err)
		}
		name, _ := token.(string) // in an object, every other token is one
		if _, twice := found[name]; twice {
			return nil, fmt.Errorf("%q occurs twice", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("read %q: %w", name, err)
		}
		found[name] = value
	}
	return found, nil
}
