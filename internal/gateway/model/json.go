package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"unicode/utf8"
)

// Bounds of a request body's JSON, beside its size.
const (
	maxDepth   = 200       // of OpenCode's requests: about 15, most of it in the schemas of tools
	maxMembers = 10_000    // of one object
	maxValues  = 2_000_000 // of the whole text
)

// JSON texts that parsers read differently are refused, because the provider's may be any.
var (
	errNotUTF8   = errors.New("the text is not valid UTF-8")
	errSyntax    = errors.New("the text is not one JSON value")
	errDepth     = fmt.Errorf("values are nested deeper than %d levels", maxDepth)
	errValues    = fmt.Errorf("there are more than %d values", maxValues)
	errMembers   = fmt.Errorf("an object has more than %d members", maxMembers)
	errSurrogate = errors.New(`a \u escape is half of a surrogate pair`)
)

// value is one JSON value in a text that parseStrict has accepted.
type value []byte

// parseStrict returns the value that is the whole text. The error is that of a text which parsers may read differently: with
// invalid UTF-8, half of a surrogate pair, a member twice in an object, or anything behind the value.
func parseStrict(text []byte) (value, error) {
	if !utf8.Valid(text) {
		return nil, errNotUTF8
	}
	if !json.Valid(text) {
		return nil, errSyntax
	}
	if err := checkNames(text); err != nil {
		return nil, err
	}
	return bytes.Trim(text, " \t\r\n"), nil
}

// open is an object or array that checkNames is inside of.
type open struct {
	object bool
	name   bool                // the next string is a name
	first  int                 // index of its first name
	seen   map[string]struct{} // of objects with many members; nil: names are compared one by one
}

// few is the number of names up to which comparing is faster than a map.
const few = 16

// checkNames checks names, strings and bounds of valid JSON.
func checkNames(text []byte) error {
	var levels []open
	var names []string
	values := 0
	for i := 0; i < len(text); i++ {
		var top *open
		if len(levels) > 0 {
			top = &levels[len(levels)-1]
		}
		switch text[i] {
		case '{', '[':
			if len(levels) == maxDepth {
				return errDepth
			}
			values++
			levels = append(levels, open{object: text[i] == '{', name: text[i] == '{', first: len(names)})
		case '}', ']':
			names = names[:top.first]
			levels = levels[:len(levels)-1]
		case ',':
			values++
			top.name = top.object
		case '"':
			end := endOfString(text, i)
			content := text[i+1 : end-1]
			if err := checkSurrogates(content); err != nil {
				return err
			}
			if top != nil && top.name {
				top.name = false
				name := value(text[i:end]).text()
				if err := top.add(names, name); err != nil {
					return err
				}
				names = append(names, name)
			}
			i = end - 1
		}
		if values > maxValues {
			return errValues
		}
	}
	return nil
}

// add checks a further name of an object against those before.
func (o *open) add(names []string, name string) error {
	own := names[o.first:]
	switch {
	case len(own) == maxMembers:
		return errMembers
	case o.seen == nil && len(own) == few:
		o.seen = make(map[string]struct{}, 2*few)
		for _, n := range own {
			o.seen[n] = struct{}{}
		}
	}
	twice := false
	if o.seen != nil {
		_, twice = o.seen[name]
		o.seen[name] = struct{}{}
	} else {
		for _, n := range own {
			twice = twice || n == name
		}
	}
	if twice {
		return fmt.Errorf("the member %.64q occurs twice in one object", name)
	}
	return nil
}

// checkSurrogates checks the escapes of a string's content.
func checkSurrogates(content []byte) error {
	high := false // a high surrogate is directly before
	for len(content) > 0 {
		next := bytes.IndexByte(content, '\\')
		if high && next != 0 {
			return errSurrogate
		}
		if next < 0 {
			return nil
		}
		content = content[next:]
		if content[1] != 'u' {
			if high {
				return errSurrogate
			}
			content = content[2:]
			continue
		}
		unit, _ := strconv.ParseUint(string(content[2:6]), 16, 16)
		content = content[6:]
		isHigh, isLow := unit&0xfc00 == 0xd800, unit&0xfc00 == 0xdc00
		if isLow != high {
			return errSurrogate
		}
		high = isHigh
	}
	if high {
		return errSurrogate
	}
	return nil
}

// endOfString is the index behind the string that begins at i.
func endOfString(text []byte, i int) int {
	for end := i + 1; ; end++ {
		end += bytes.IndexByte(text[end:], '"')
		before := end - 1
		for before > i && text[before] == '\\' {
			before--
		}
		if (end-before)%2 == 1 { // an even number of backslashes
			return end + 1
		}
	}
}

// endOfValue is the index behind the value that begins at i.
func endOfValue(text []byte, i int) int {
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '"':
			i = endOfString(text, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
			continue
		default:
			for i < len(text) && !bytes.ContainsRune([]byte(",:]} \t\r\n"), rune(text[i])) {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
	return i
}

func (v value) isObject() bool { return v[0] == '{' }
func (v value) isList() bool   { return v[0] == '[' }
func (v value) isText() bool   { return v[0] == '"' }
func (v value) isNull() bool   { return v[0] == 'n' }
func (v value) isTrue() bool   { return v[0] == 't' }

// text is the content of a string, and "" for any other value.
func (v value) text() string {
	if !v.isText() {
		return ""
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1])
	}
	var text string
	_ = json.Unmarshal(v, &text)
	return text
}

// number is the value of a number that is a whole one, within int64 and not negative; ok is false for any other value.
func (v value) number() (n int64, ok bool) {
	n, err := strconv.ParseInt(string(v[:min(len(v), 32)]), 10, 64)
	return n, err == nil && n >= 0
}

// members yields names and values of an object; nothing of any other value.
func (v value) members() iter.Seq2[string, value] {
	return func(yield func(string, value) bool) {
		if !v.isObject() {
			return
		}
		for i := skip(v, 1); v[i] != '}'; i = skip(v, i) {
			end := endOfString(v, i)
			name := v[i:end]
			i = skip(v, end)
			end = endOfValue(v, i)
			if !yield(name.text(), v[i:end]) {
				return
			}
			i = end
			if i = skip(v, i); v[i] == '}' {
				return
			}
		}
	}
}

// elements yields the elements of a list; nothing of any other value.
func (v value) elements() iter.Seq[value] {
	return func(yield func(value) bool) {
		if !v.isList() {
			return
		}
		for i := skip(v, 1); v[i] != ']'; i = skip(v, i) {
			end := endOfValue(v, i)
			if !yield(v[i:end]) {
				return
			}
			i = end
		}
	}
}

// member is that of a name; nil if there is none.
func (v value) member(name string) value {
	for n, member := range v.members() {
		if n == name {
			return member
		}
	}
	return nil
}

// skip is the index of the first byte from i on that belongs to a value, or ends one.
func skip(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n' || text[i] == ',' || text[i] == ':' {
		i++
	}
	return i
}
