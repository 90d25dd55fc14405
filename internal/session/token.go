package session

import "time"

// Token is what is recorded of a session's token, and of the one before it: keyed digests, and how long they are
// accepted. The zero value accepts nothing. Values can be compared.
type Token struct {
	Digest    string    // empty: there is none, or it expired and was swept
	ExpiresAt time.Time // zero: never
	RotatedAt time.Time // when the present token was issued

	PreviousDigest    string    // of the token that a rotation replaced, during its grace; empty: there is none
	PreviousExpiresAt time.Time // end of the grace
}

// Valid reports whether there is a token that is accepted at this time.
func (t Token) Valid(now time.Time) bool { return t.Digest != "" && Unexpired(t.ExpiresAt, now) }

// GraceEnd is until when the previous token is accepted; zero: it is not.
func (t Token) GraceEnd(now time.Time) time.Time {
	if t.PreviousDigest == "" || !Unexpired(t.PreviousExpiresAt, now) {
		return time.Time{}
	}
	return t.PreviousExpiresAt
}

// Replaced returns the record after a new token was issued: accepted for life, zero being without end. The token that
// it replaces is accepted during the grace, but never for longer than it would have been; every earlier one is not.
func (t Token) Replaced(digest string, now time.Time, life, grace time.Duration) Token {
	next := Token{Digest: digest, RotatedAt: now}
	if life > 0 {
		next.ExpiresAt = now.Add(life)
	}
	if grace > 0 && t.Valid(now) {
		next.PreviousDigest, next.PreviousExpiresAt = t.Digest, now.Add(grace)
		if !Unexpired(t.ExpiresAt, next.PreviousExpiresAt) {
			next.PreviousExpiresAt = t.ExpiresAt
		}
	}
	return next
}

// Swept returns the record without the digests that are accepted no longer, and how many there were. That a token
// expired can still be seen afterwards; which one it was cannot.
func (t Token) Swept(now time.Time) (swept Token, removed int) {
	if t.Digest != "" && !Unexpired(t.ExpiresAt, now) {
		t.Digest = ""
		removed++
	}
	if t.PreviousDigest != "" && !Unexpired(t.PreviousExpiresAt, now) {
		t.PreviousDigest, t.PreviousExpiresAt = "", time.Time{}
		removed++
	}
	return t, removed
}

// Unexpired reports whether what ends at this time, zero being never, has not ended.
func Unexpired(end, now time.Time) bool { return end.IsZero() || now.Before(end) }
