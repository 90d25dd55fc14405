package policy

import (
	"encoding/base64"
	"net/url"
	"strings"

	"berth/internal/session"
)

// tokenParam is the query parameter in which OpenCode accepts a credential, base64 of "user:password", for clients that cannot set
// a header. OpenCode prefers it to the Authorization header, so a client's must never be forwarded.
const tokenParam = "auth_token"

// TokenIn returns the password in a raw query's auth_token; empty if there is none, or more than one.
func TokenIn(rawQuery string) session.Secret {
	if !strings.Contains(rawQuery, "=") {
		return ""
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil || len(values[tokenParam]) != 1 {
		return ""
	}
	text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(values[tokenParam][0]), "=")
	pair, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	_, password, _ := strings.Cut(string(pair), ":")
	return session.Secret(password)
}

// WithoutToken removes every auth_token parameter from a raw query, however its name is encoded, and changes nothing
// else: a query without one is returned as it is.
//
// Parameters are separated by &. Older servers split at semicolons too, so a parameter after one is removed as
// well.
func WithoutToken(rawQuery string) string {
	kept, changed := dropParam(rawQuery, "&", func(piece string) (string, bool) {
		if isToken(piece) {
			return "", true
		}
		if !strings.Contains(piece, ";") {
			return piece, false
		}
		rest, _ := dropParam(piece, ";", func(part string) (string, bool) { return part, isToken(part) })
		return rest, rest == "" && piece != ""
	})
	if !changed {
		return rawQuery
	}
	return kept
}

// addressWithoutToken is [WithoutToken] for the query of an address.
func addressWithoutToken(address string) string {
	before, query, found := strings.Cut(address, "?")
	if !found {
		return address
	}
	if kept := WithoutToken(query); kept != "" || query == "" {
		return before + "?" + kept
	}
	return before
}

// dropParam passes every piece to edit, which returns what to keep of it and whether to drop it.
func dropParam(s, separator string, edit func(string) (string, bool)) (kept string, changed bool) {
	if s == "" {
		return "", false
	}
	var pieces []string
	for piece := range strings.SplitSeq(s, separator) {
		rest, drop := edit(piece)
		changed = changed || drop || rest != piece
		if !drop {
			pieces = append(pieces, rest)
		}
	}
	return strings.Join(pieces, separator), changed
}

func isToken(piece string) bool {
	key, _, _ := strings.Cut(piece, "=")
	if len(key) < len(tokenParam) {
		return false
	}
	return decodeLoosely(key) == tokenParam
}

// decodeLoosely decodes a parameter's name as the URL standard of browsers and servers does: what is not a valid
// escape is kept as it is.
func decodeLoosely(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
