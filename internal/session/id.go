package session

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// ID identifies a session. New ones are "ses-" and 16 random characters of [a-z2-7] (80 bits); older stores may contain any string
// that [ParseID] accepts. It is a valid DNS label and a valid container name.
type ID string

const (
	idPrefix  = "ses-"
	idBytes   = 10 // 16 characters of base32
	maxIDSize = 63 // a DNS label: RFC 1035, section 2.3.4
)

var idEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewID returns a new random ID.
func NewID() ID {
	b := make([]byte, idBytes)
	rand.Read(b) // never fails: crypto/rand
	return IDFrom(b)
}

// IDFrom returns the ID that encodes the first 10 bytes of b.
func IDFrom(b []byte) ID {
	return ID(idPrefix + strings.ToLower(idEncoding.EncodeToString(b[:idBytes])))
}

// ParseID validates untrusted text: 1 to 63 characters of [a-z0-9_-], the first a letter or a digit. It returns a CodeNotFound
// error for anything else, because no session can have such an ID.
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
