package session

import (
	"bytes"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
)

const (
	maxExponent = 1000   // of a number in metadata, positive or negative
	maxNumber   = 16_000 // characters of one without exponent; JSONB takes 16,383 digits behind the point
)

// Metadata is a JSON object that the platform stores with a session. Read from JSON, its numbers are [json.Number]s with all their
// digits, in the form that JSONB returns: without an exponent ("1e2" is "100"), and zero without a sign.
type Metadata map[string]any

// UnmarshalJSON reads an object or null. A number with an exponent beyond ±1000 stays unchanged; [Metadata.Check] refuses it.
func (m *Metadata) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return err
	}
	*m = object
	plainNumbers(object)
	return nil
}

// Clone returns a copy that shares nothing mutable with m.
func (m Metadata) Clone() Metadata {
	copied := maps.Clone(m)
	for name, value := range copied {
		copied[name] = cloneJSON(value)
	}
	return copied
}

// Check returns a CodeInvalid error for metadata that not every store can represent: text with U+0000, and numbers beyond the
// range of JSONB.
func (m Metadata) Check() error { return checkJSON(map[string]any(m)) }

func checkJSON(value any) error {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if err := checkJSON(name); err != nil {
				return err
			}
			if err := checkJSON(member); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range v {
			if err := checkJSON(element); err != nil {
				return err
			}
		}
	case string:
		if strings.ContainsRune(v, 0) {
			return Errorf(CodeInvalid, "the metadata must not hold the character U+0000")
		}
	case json.Number:
		if plain, ok := plainNumber(string(v)); !ok || len(plain) > maxNumber {
			return Errorf(CodeInvalid, "the metadata must not hold numbers of more than %d characters or with exponents beyond %d",
				maxNumber, maxExponent)
		}
	}
	return nil
}

// plainNumbers rewrites numbers in place and returns the value.
func plainNumbers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = plainNumbers(member)
		}
	case []any:
		for i, element := range v {
			v[i] = plainNumbers(element)
		}
	case json.Number:
		if plain, ok := plainNumber(string(v)); ok {
			return json.Number(plain)
		}
	}
	return value
}

// plainNumber rewrites a JSON number without its exponent, with all its digits. It reports false for an exponent beyond the limit.
func plainNumber(text string) (string, bool) {
	digits, negative := strings.CutPrefix(text, "-")
	mantissa, exponent, scaled := digits, "0", false
	if at := strings.IndexAny(digits, "eE"); at >= 0 {
		mantissa, exponent, scaled = digits[:at], digits[at+1:], true
	}
	if scaled {
		shift, err := strconv.Atoi(exponent)
		if err != nil || shift > maxExponent || shift < -maxExponent {
			return text, false
		}
		mantissa = movePoint(mantissa, shift)
	}
	if negative && strings.Trim(mantissa, "0.") != "" {
		return "-" + mantissa, true
	}
	return mantissa, true
}

// movePoint multiplies a decimal number by a power of ten.
func movePoint(mantissa string, shift int) string {
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, point := whole+fraction, len(whole)+shift
	switch {
	case point <= 0:
		return "0." + strings.Repeat("0", -point) + digits
	case point >= len(digits):
		whole, fraction = digits+strings.Repeat("0", point-len(digits)), ""
	default:
		whole, fraction = digits[:point], "."+digits[point:]
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	return whole + fraction
}
