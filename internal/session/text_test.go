package session_test

import (
	"strings"
	"testing"

	"berth/internal/session"
)

func TestTextThatCanBeStored(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want session.Code
	}{
		"empty":            {"", ""},
		"any script":       {"Åse 李 👩", ""},
		"255 characters":   {strings.Repeat("é", 255), ""},
		"256 characters":   {strings.Repeat("é", 256), session.CodeInvalid},
		"not UTF-8":        {"a\xff", session.CodeInvalid},
		"U+FFFD":           {"a\ufffd", session.CodeInvalid},
		"a line break":     {"a\nb", session.CodeInvalid},
		"a direction mark": {"a\u202eb", session.CodeInvalid},
		"a line separator": {"a\u2028b", session.CodeInvalid},
	} {
		if got := session.CodeOf(session.CheckText("owner", tc.text)); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
