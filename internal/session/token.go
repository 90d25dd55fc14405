package session

import "time"

// Token is the record of a session's present token and the previous one: keyed digests, and until when they are accepted. The zero
// value accepts no token. Values can be compared.
type Token struct {
	Digest    string    // empty: no token, or it has expired and was swept
	ExpiresAt time.Time // zero: never
	RotatedAt time.Time // when the present token was issued

	PreviousDigest    string    // of the replaced token, during its grace; empty: none
	PreviousExpiresAt time.Time // end of the grace
}

// Valid reports whether there is a token that is accepted at this time.
func (t Token) Valid(now time.Time) bool { return t.Digest != "" && Unexpired(t.ExpiresAt, now) }

// GraceEnd returns until when the previous token is accepted; zero: it is not.
func (t Token) GraceEnd(now time.Time) time.Time {
	if t.PreviousDigest == "" || !Unexpired(t.PreviousExpiresAt, now) {
		return time.Time{}
	}
	return t.PreviousExpiresAt
}

// Replaced returns the record after a new token was issued, which is accepted for life (zero: without end). The replaced token is
// accepted during the grace, but not beyond its own expiry; earlier ones are rejected.
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

// Swept returns the record without the digests that are no longer accepted, and their number. The expiry dates are kept.
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

// Unexpired reports whether end is zero, which means never, or after now.
func Unexpired(end, now time.Time) bool { return end.IsZero() || now.Before(end) }
