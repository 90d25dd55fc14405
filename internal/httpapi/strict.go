package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// JSON texts that decoders interpret differently, or that decode to the same value as others, are refused before decoding.
var (
	errNotUTF8   = errors.New("the text is not valid UTF-8")
	errSurrogate = errors.New(`a \u escape is half of a surrogate pair`)
	errTrailing  = errors.New("something follows the JSON value")
)

// checkJSON refuses a JSON text with invalid UTF-8, an escape of half a surrogate pair, a member twice in an object, or
// anything after its value.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errNotUTF8
	}
	if err := checkSurrogates(text); err != nil {
		return err
	}
	return checkMembers(text)
}

// checkSurrogates checks the escapes of the strings in text: encoding/json decodes any half of a pair to U+FFFD.
func checkSurrogates(text []byte) error {
	high := false // an escaped high surrogate is directly before
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 >= len(text) {
			if high {
				return errSurrogate
			}
			continue
		}
		i++ // a backslash escapes what follows; outside strings there is none in JSON
		if text[i] != 'u' || i+4 >= len(text) {
			if high {
				return errSurrogate
			}
			continue
		}
		unit, err := strconv.ParseUint(string(text[i+1:i+5]), 16, 16)
		if err != nil {
			return fmt.Errorf(`\u%q is no escape`, text[i+1:i+5])
		}
		i += 4
		switch isHigh, isLow := unit&0xfc00 == 0xd800, unit&0xfc00 == 0xdc00; {
		case isLow != high:
			return errSurrogate
		case isHigh:
			high = true
		default:
			high = false
		}
	}
	if high {
		return errSurrogate
	}
	return nil
}

// checkMembers checks the value for duplicate members of objects. Names are compared decoded, and in the outermost object, whose
// members are the request's fields, without regard to case, as encoding/json matches fields.
func checkMembers(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	type level struct {
		names map[string]bool // nil: an array
		name  bool            // the next token is a name
	}
	var levels []level
	for first := true; first || len(levels) > 0; first = false {
		token, err := dec.Token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels) - 1; n >= 0 && levels[n].names != nil {
			top := &levels[n]
			if top.name {
				name, _ := token.(string)
				if n == 0 {
					name = folded(name)
				}
				if top.names[name] {
					return fmt.Errorf("the member %q occurs twice in one object", name)
				}
				top.names[name], top.name = true, false
				continue
			}
			top.name = true
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}, name: true})
		case json.Delim('['):
			levels = append(levels, level{})
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// folded returns the same text for names that differ only in case.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}
