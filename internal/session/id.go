package session

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// ID names a session: "ses-" and 16 random characters of [a-z2-7] (80 bits) when made here, any string of the form
// that [ParseID] accepts when it comes from an older store. It is a valid DNS label and a valid container name.
type ID string

const (
	idPrefix  = "ses-"
	idBytes   = 10 // 16 characters of base32
	maxIDSize = 63 // a DNS label: RFC 1035, section 2.3.4
)

var idEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewID returns a fresh random ID.
func NewID() ID {
	b := make([]byte, idBytes)
	rand.Read(b) // never fails: crypto/rand
	return IDFrom(b)
}

// IDFrom returns the ID made of the first bytes of b, of which it needs 10.
func IDFrom(b []byte) ID {
	return ID(idPrefix + strings.ToLower(idEncoding.EncodeToString(b[:idBytes])))
}

// ParseID checks text that came from outside: 1 to 63 characters of [a-z0-9_-], the first a letter or a digit.
// It returns a CodeNotFound error for anything else, because no session can have such a name.
func ParseID(text string) (ID, error) {
	if text == "" || len(text) > maxIDSize {
		return "", NotFound(ID(text))
	}
	for i, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '_'):
		default:
			return "", NotFound(ID(text))
		}
	}
	return ID(text), nil
}
