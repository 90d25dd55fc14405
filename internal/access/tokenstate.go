package access

import (
	"time"

	"berth/internal/session"
)

// TokenState is the validity of a request's token. The values are in the audit trail and in metrics.
type TokenState string

// Every state. Only the first two are valid.
const (
	Present  TokenState = "present"  // the session's token
	Previous TokenState = "previous" // the previous token, in its grace
	Expired  TokenState = "expired"  // was the session's token until it expired
	Wrong    TokenState = "wrong"    // anything else, a replaced token included
	Missing  TokenState = "missing"  // the request has none
)

// Valid reports whether its holder may use the session.
func (s TokenState) Valid() bool { return s == Present || s == Previous }

// Check is the one place that decides whether a token is accepted for a session. Whatever is wrong, whether or not there
// is such a session, and whether or not its previous token is in its grace, it computes one digest and makes two
// comparisons.
func (k Keys) Check(secret session.Secret, t session.Token, now time.Time) TokenState {
	state, _ := k.check(secret, t, now)
	return state
}

func (k Keys) check(secret session.Secret, t session.Token, now time.Time) (state TokenState, digest string) {
	digest = k.Digest(secret)
	present, previous := equalDigest(digest, t.Digest), equalDigest(digest, t.PreviousDigest)
	switch {
	case secret == "":
		return Missing, digest
	case present && session.Unexpired(t.ExpiresAt, now):
		return Present, digest
	case present:
		return Expired, digest
	case previous && session.Unexpired(t.PreviousExpiresAt, now):
		return Previous, digest
	}
	return Wrong, digest
}
