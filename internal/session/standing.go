package session

import (
	"crypto/subtle"
	"strings"
	"time"
)

// Standing is what a token that somebody shows is worth.
type Standing string

// Every standing. Only the first two are let in.
const (
	Present  Standing = "present"  // the session's token
	Previous Standing = "previous" // the one before it, in its grace
	Expired  Standing = "expired"  // was the session's token until it expired
	Wrong    Standing = "wrong"    // anything else, a replaced token included
	Missing  Standing = "missing"  // nothing was shown
)

// LetIn reports whether who has it may use the session.
func (s Standing) LetIn() bool { return s == Present || s == Previous }

// noDigest stands for digests that are not there. No token has it.
var noDigest = strings.Repeat("-", 64)

// Check is the one place that decides whether a token is good for a session. Whatever is wrong, whether or not there is
// such a session, and whether or not a token before is in its grace, it computes one digest and makes two comparisons.
func (k Keys) Check(token Secret, t Token, now time.Time) Standing {
	digest := k.Digest(token)
	present, previous := equalDigest(digest, t.Digest), equalDigest(digest, t.PreviousDigest)
	switch {
	case token == "":
		return Missing
	case present && Unexpired(t.ExpiresAt, now):
		return Present
	case present:
		return Expired
	case previous && Unexpired(t.PreviousExpiresAt, now):
		return Previous
	}
	return Wrong
}

// equalDigest compares in constant time. Nothing is equal to the empty digest.
func equalDigest(digest, stored string) bool {
	if stored == "" {
		stored = noDigest
	}
	return subtle.ConstantTimeCompare([]byte(digest), []byte(stored)) == 1
}
