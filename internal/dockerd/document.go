package dockerd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDocument bounds daemon.json, in bytes: a longer one is something else.
const maxDocument = 1 << 20

// document is daemon.json: an object whose keys keep their order, and whose values keep their spelling unless they are set.
type document struct {
	entries []entry
	indent  string
}

type entry struct {
	key   string
	value json.RawMessage
}

// parseDocument reads daemon.json. What the engine itself would refuse, or understand in two ways, is an error: no
// object, text after it, a key twice. An empty file is an empty object.
func parseDocument(data []byte) (document, error) {
	d := document{indent: "  "}
	if len(data) > maxDocument {
		return d, fmt.Errorf("longer than %d bytes", maxDocument)
	}
	if !utf8.Valid(data) {
		return d, errors.New("not UTF-8")
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return d, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil {
		return d, err
	} else if open != json.Delim('{') {
		return d, errors.New("not an object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return d, err
		}
		name, _ := key.(string) // the decoder takes nothing else for a key
		if d.has(name) {
			return d, fmt.Errorf("%q is there twice", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return d, fmt.Errorf("%q: %w", name, err)
		}
		d.entries = append(d.entries, entry{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return d, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d, errors.New("there is more text after the object")
	}
	d.indent = indentOf(data)
	return d, nil
}

// indentOf is the white space before the first key that begins a line.
func indentOf(data []byte) string {
	for line := range strings.Lines(string(data)) {
		rest := strings.TrimLeft(line, " \t")
		if strings.HasPrefix(rest, `"`) && len(rest) < len(line) {
			return line[:len(line)-len(rest)]
		}
	}
	return "  "
}

// index is the place of a key; -1 when it is not there.
func (d document) index(key string) int {
	return slices.IndexFunc(d.entries, func(e entry) bool { return e.key == key })
}

func (d document) has(key string) bool { return d.index(key) >= 0 }

// raw is a value as it is spelled; nil when the key is not there.
func (d document) raw(key string) json.RawMessage {
	if i := d.index(key); i >= 0 {
		return d.entries[i].value
	}
	return nil
}

// misspelled is a key that differs from the given one in case only; the engine refuses such a file.
func (d document) misspelled(key string) string {
	i := slices.IndexFunc(d.entries, func(e entry) bool { return e.key != key && strings.EqualFold(e.key, key) })
	if i < 0 {
		return ""
	}
	return d.entries[i].key
}

// strings reads a list of strings; nil when the key is not there.
func (d document) strings(key string) ([]string, error) {
	raw := d.raw(key)
	if raw == nil {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%q is not a list of strings", key)
	}
	return list, nil
}

// same reports whether key has a value that means the same.
func (d document) same(key string, value any) bool {
	raw := d.raw(key)
	if raw == nil {
		return false
	}
	var there, wanted any
	return json.Unmarshal(raw, &there) == nil && json.Unmarshal(encode(value, ""), &wanted) == nil && reflect.DeepEqual(there, wanted)
}

// with returns a document in which key has the value: in its old place, or at the end.
func (d document) with(key string, value json.RawMessage) document {
	d.entries = slices.Clone(d.entries)
	if i := d.index(key); i >= 0 {
		d.entries[i].value = value
	} else {
		d.entries = append(d.entries, entry{key, value})
	}
	return d
}

// without returns a document without key.
func (d document) without(key string) document {
	d.entries = slices.DeleteFunc(slices.Clone(d.entries), func(e entry) bool { return e.key == key })
	return d
}

// encode spells a value for a place one level deep.
func encode(value any, indent string) json.RawMessage {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent(indent, indent)
	// Only strings, booleans and lists of them are ever given.
	_ = enc.Encode(value)
	return bytes.TrimSpace(out.Bytes())
}

// bytes spells the document, one key a line.
func (d document) bytes() []byte {
	if len(d.entries) == 0 {
		return []byte("{}\n")
	}
	var out bytes.Buffer
	out.WriteString("{\n")
	for i, e := range d.entries {
		if i > 0 {
			out.WriteString(",\n")
		}
		fmt.Fprintf(&out, "%s%s: %s", d.indent, encode(e.key, ""), e.value)
	}
	out.WriteString("\n}\n")
	return out.Bytes()
}
