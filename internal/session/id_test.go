package session_test

import (
	"strings"
	"testing"

	"berth/internal/session"
)

func TestNewIDsAreUniqueAndParse(t *testing.T) {
	t.Parallel()
	seen := map[session.ID]bool{}
	for range 1000 {
		id := session.NewID()
		if seen[id] {
			t.Fatalf("NewID gave %s twice", id)
		}
		seen[id] = true
		if back, err := session.ParseID(string(id)); err != nil || back != id {
			t.Fatalf("ParseID(%q) = %q, %v; want the same ID", id, back, err)
		}
	}
}

func TestParseIDRefusesInvalidIDs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "-a", "_a", "A", "ses-ABC", "ses/..", "..", ".", "a b", "a\n", "a\x00", "ä", strings.Repeat("a", 64), "ses-%2e", "a:b",
	} {
		if id, err := session.ParseID(text); session.CodeOf(err) != session.CodeNotFound {
			t.Errorf("ParseID(%q) = %q, %v; want a not_found error", text, id, err)
		}
	}
	for _, text := range []string{"ses-xyz789", "ses123", "a", "0", "a_b-c", strings.Repeat("a", 63)} {
		if _, err := session.ParseID(text); err != nil {
			t.Errorf("ParseID(%q) = %v; want it accepted: an older store may contain it", text, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("ses-gezdgnbvgy3tqojq")
	f.Add("../../etc/passwd")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := session.ParseID(text)
		if err != nil {
			return
		}
		if string(id) != text || len(text) > 63 || strings.ContainsAny(text, "/.%:\\ \n\x00") {
			t.Errorf("ParseID(%q) accepted it as %q", text, id)
		}
	})
}
