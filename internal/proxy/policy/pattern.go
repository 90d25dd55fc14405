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

// anyMatches reports whether the call matches one of the patterns under any interpretation of its path by a server. Refusing too many
// calls is a nuisance; refusing too few is a vulnerability.
func anyMatches(patterns []pattern, method, raw string) bool {
	if len(patterns) == 0 {
		return false
	}
	all, ok := readings(raw)
	if !ok {
		return true
	}
	for _, p := range patterns {
		if p.method != "" && !strings.EqualFold(p.method, method) {
			continue
		}
		if slices.ContainsFunc(all, p.matches) {
			return true
		}
	}
	return false
}

// readings returns the segments of a raw path under every interpretation by a server: unescaped before it is split or after, with
// empty and dot segments, with backslashes, with parameters after a semicolon. It is false for a path with an invalid escape.
func readings(raw string) (all [][]string, ok bool) {
	if !strings.ContainsAny(raw, `%;\`) && !strings.Contains(raw, "/.") {
		return [][]string{segments(raw)}, true
	}
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return nil, false
	}
	plain, _, _ := strings.Cut(decoded, ";")
	for _, text := range []string{decoded, plain, withoutParameters(decoded), splitFirst(raw)} {
		all = append(all, segments(text), unresolved(text))
	}
	return all, true
}

// splitFirst unescapes each segment of a raw path, as servers do that split it first: to them %2F is part of a segment, and %2E%2E one
// that ends the segment before.
func splitFirst(raw string) string {
	parts := strings.Split(raw, "/")
	for i, part := range parts {
		part, _ = url.PathUnescape(part) // valid, as the whole is
		part, _, _ = strings.Cut(part, ";")
		parts[i] = escapeSeparators.Replace(part)
	}
	return strings.Join(parts, "/")
}

var escapeSeparators = strings.NewReplacer("/", "%2F", `\`, "%5C")

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

// unresolved returns the segments of a path with those of two dots, which some servers leave as they are.
func unresolved(decoded string) []string {
	all := strings.FieldsFunc(decoded, func(c rune) bool { return c == '/' || c == '\\' })
	return slices.DeleteFunc(all, func(segment string) bool { return segment == "." })
}

func segments(decoded string) []string {
	decoded = strings.ReplaceAll(decoded, `\`, "/")
	return strings.Split(strings.Trim(path.Clean("/"+decoded), "/"), "/")
}
