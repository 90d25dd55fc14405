package session_test

import (
	"strings"
	"testing"

	"berth/internal/session"
)

func TestImagePatternMatches(t *testing.T) {
	t.Parallel()
	const a, b = "sha256:" + "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "sha256:" + "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	for _, row := range []struct {
		pattern, image string
		want           bool
	}{
		{"berth/opencode:1", "berth/opencode:1", true},
		{"berth/opencode:1", "docker.io/berth/opencode:1", true},
		{"berth/opencode:1", "berth/opencode:2", false},
		{"berth/opencode:1", "berth/opencode", false},
		{"berth/opencode:1", "evil.example/berth/opencode:1", false},
		{"berth/opencode:1", "berth/opencode:1@" + a, false}, // the digest decides, and it may be of anything
		{"berth/opencode:latest", "berth/opencode", true},
		{"berth/opencode:*", "berth/opencode:2", true},
		{"berth/opencode:*", "berth/opencode@" + a, true},
		{"berth/opencode:*", "berth/opencode-evil:2", false},
		{"berth/opencode:*", "berth/opencode/evil:2", false},
		{"berth/opencode@" + a, "berth/opencode@" + a, true},
		{"berth/opencode@" + a, "berth/opencode:9@" + a, true},
		{"berth/opencode@" + a, "berth/opencode@" + b, false},
		{"debian:12", "docker.io/library/debian:12", true},
		{"debian:12", "index.docker.io/library/debian:12", true},
		{"registry.example:5000/x:1", "registry.example:5000/x:1", true},
		{"registry.example:5000/x:1", "registry.example/x:1", false},
		{"localhost/x:1", "localhost/x:1", true},
		{"localhost/x:1", "x:1", false},
		{"x:1, y:2", "y:2", true},
		{"*", "anything at all", true},
		{"x:1", "../x:1", false},
		{"x:1", "x:1 ", false},
		{"x:1", a, false},
		{"", "x:1", false},
	} {
		patterns, err := session.ParseImagePatterns(row.pattern)
		if err != nil {
			t.Errorf("%s: %v", row.pattern, err)
			continue
		}
		got := false
		for _, p := range patterns {
			got = got || p.Matches(row.image)
		}
		if got != row.want {
			t.Errorf("%q matches %q: got %v, want %v", row.pattern, row.image, got, row.want)
		}
	}
}

func TestImagePatternWithoutTagIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"berth/opencode", "a:1,b", "a:1:*", ":*", "a b:1", "/x:1", "x/:1"} {
		if got, err := session.ParseImagePatterns(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		} else if !strings.Contains(err.Error(), `"`) {
			t.Errorf("%q: %v does not name the entry", text, err)
		}
	}
}

func TestSameImage(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"stub:1", "stub:1", true},
		{"stub", "stub:latest", true},
		{"stub", "docker.io/library/stub", true},
		{"stub:1", "stub:2", false},
		{"stub:1", "other:1", false},
	} {
		if got := session.SameImage(row.a, row.b); got != row.want {
			t.Errorf("%s, %s: got %v", row.a, row.b, got)
		}
	}
}
