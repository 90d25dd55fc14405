package policy

import (
	"net/url"
	"strings"
)

// Target is the target of a request line, byte for byte.
type Target struct {
	Path       string // raw, begins with a slash
	Query      string // raw, without its question mark
	ForceQuery bool   // there is a question mark although the query is empty
}

// TargetOf returns the target that was parsed into u. [url.URL.EscapedPath] alone does not suffice: if one character of the
// path should have been escaped, it re-encodes everything and turns %2F into a slash.
func TargetOf(u *url.URL) Target {
	t := Target{Path: u.RawPath, Query: u.RawQuery, ForceQuery: u.ForceQuery}
	if t.Path == "" {
		t.Path = u.EscapedPath()
	}
	return t
}

// String returns the target as it stands in a request line, with what is not allowed there escaped.
func (t Target) String() string {
	text := escapeIllegal(t.Path)
	if t.Query != "" || t.ForceQuery {
		text += "?" + t.Query
	}
	return text
}

// At returns the target at an address, with the path byte for byte as received, except that bytes which are not allowed in a
// request line are escaped. It returns an error for a path with an invalid escape, which no server has parsed.
func (t Target) At(address string) (*url.URL, error) {
	raw := escapeIllegal(t.Path)
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return nil, err
	}
	return &url.URL{
		Scheme: "http", Host: address,
		Path: decoded, RawPath: raw,
		RawQuery: t.Query, ForceQuery: t.ForceQuery,
	}, nil
}

// escapeIllegal percent-encodes what RFC 3986 (section 3.3) does not allow in a path, and changes nothing else.
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
