package policy

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// pattern names calls: "POST /global/upgrade", or "/session/*/message" for any method, where * is one segment.
type pattern struct {
	method   string // "": any
	segments []string
}

func parsePatterns(texts []string) []pattern {
	var patterns []pattern
	for _, text := range texts {
		method, where, ok := strings.Cut(strings.TrimSpace(text), " ")
		if !ok {
			method, where = "", text
		}
		patterns = append(patterns, pattern{method: method, segments: segments(where)})
	}
	return patterns
}

// anyMatches reports whether the call matches one of the patterns under any interpretation of its path by a server: escaped or
// not, with empty and dot segments, with backslashes, in another case, with parameters after a semicolon. Refusing too many
// calls is a nuisance; refusing too few is a vulnerability.
func anyMatches(patterns []pattern, method, raw string) bool {
	if len(patterns) == 0 {
		return false
	}
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return true
	}
	plain, _, _ := strings.Cut(decoded, ";")
	readings := [][]string{segments(decoded), segments(plain), segments(withoutParameters(decoded))}
	for _, p := range patterns {
		if p.method != "" && !strings.EqualFold(p.method, method) {
			continue
		}
		if slices.ContainsFunc(readings, p.matches) {
			return true
		}
	}
	return false
}

func (p pattern) matches(segments []string) bool {
	if len(segments) != len(p.segments) {
		return false
	}
	for i, want := range p.segments {
		if want != "*" && !strings.EqualFold(want, segments[i]) {
			return false
		}
	}
	return true
}

// withoutParameters removes from every segment what follows a semicolon.
func withoutParameters(decoded string) string {
	parts := strings.Split(decoded, "/")
	for i, part := range parts {
		parts[i], _, _ = strings.Cut(part, ";")
	}
	return strings.Join(parts, "/")
}

func segments(decoded string) []string {
	decoded = strings.ReplaceAll(decoded, `\`, "/")
	return strings.Split(strings.Trim(path.Clean("/"+decoded), "/"), "/")
}
