package proxy

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// rawPath returns the path as it stood in the request line. URL.EscapedPath would not do: it re-encodes everything,
// and so turns %2F into a slash, as soon as one character in the path is one that should have been escaped.
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// splitPath cuts /s/{id}/rest into the id as it was written and the rest, which begins with a slash, or is empty when
// there is no slash after the id. It decodes nothing, so that %2F and %2E%2E are letters like any other here.
func splitPath(raw string) (id, rest string, ok bool) {
	after, ok := strings.CutPrefix(raw, Prefix)
	if !ok {
		return "", "", false
	}
	if i := strings.IndexByte(after, '/'); i >= 0 {
		return after[:i], after[i:], true
	}
	return after, "", true
}

// upstreamURL is where a raw path goes: to the address, with the path byte for byte as it came, except that bytes
// which may not stand in a request line are escaped.
func upstreamURL(address, raw, rawQuery string, forceQuery bool) (*url.URL, error) {
	raw = escapeIllegal(raw)
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return nil, err
	}
	return &url.URL{
		Scheme: "http", Host: address,
		Path: decoded, RawPath: raw,
		RawQuery: rawQuery, ForceQuery: forceQuery,
	}, nil
}

// escapeIllegal percent-encodes what RFC 3986 (section 3.3) does not allow in a path, and touches nothing else.
func escapeIllegal(raw string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	clean := 0 // raw[:clean] is in b
	for i := range len(raw) {
		if legalInPath(raw[i]) {
			continue
		}
		b.WriteString(raw[clean:i])
		b.Write([]byte{'%', hex[raw[i]>>4], hex[raw[i]&15]})
		clean = i + 1
	}
	if clean == 0 {
		return raw
	}
	b.WriteString(raw[clean:])
	return b.String()
}

func legalInPath(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=:@[]%/", c) >= 0
}

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

// anyMatches reports whether the call is one of the patterns under any reading that a server could give its path:
// escaped or not, with empty and dot segments, with backslashes, in another case, with parameters after a semicolon. A
// call too many refused is a nuisance; one too few is a hole.
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

// withoutParameters takes from every segment what follows a semicolon.
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
