package model

import (
	"bytes"
	"strings"
)

// redactor hides a secret in a stream: a provider may repeat the key. It holds back no more than what may be the beginning of the
// secret.
type redactor struct {
	secret []byte // not empty
	held   []byte
}

// next returns what may be passed on. It is valid until the next call.
func (r *redactor) next(piece []byte) []byte {
	if len(r.held) > 0 {
		piece = append(r.held, piece...)
		r.held = nil
	}
	if bytes.Contains(piece, r.secret) {
		piece = bytes.ReplaceAll(piece, r.secret, bytes.Repeat([]byte("*"), len(r.secret)))
	}
	keep := r.overlap(piece)
	r.held = bytes.Clone(piece[len(piece)-keep:])
	return piece[:len(piece)-keep]
}

// rest returns what was held back, at the end.
func (r *redactor) rest() []byte { return r.held }

// overlap is how many bytes at the end of a piece are the beginning of the secret.
func (r *redactor) overlap(piece []byte) int {
	for n := min(len(piece), len(r.secret)-1); n > 0; n-- {
		if bytes.HasPrefix(r.secret, piece[len(piece)-n:]) {
			return n
		}
	}
	return 0
}

// recognizable is how many characters of a key in a row are not shown.
const recognizable = 8

// leaks reports whether a text has a part of a key.
func leaks(text, key string) bool {
	n := min(recognizable, len(key))
	for i := 0; i+n <= len(key); i++ {
		if strings.Contains(text, key[i:i+n]) {
			return true
		}
	}
	return false
}
