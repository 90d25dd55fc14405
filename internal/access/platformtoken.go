package access

import (
	"context"
	"regexp"
	"time"

	"berth/internal/session"
)

// PlatformToken is the record of a token for a program: what it may do, and no secret.
type PlatformToken struct {
	ID         TokenID   `json:"id"`
	Name       string    `json:"name"` // no two tokens have the same
	Scopes     Scopes    `json:"scopes"`
	Owner      string    `json:"owner,omitempty"` // whom it is bound to; empty: nobody
	Digest     string    `json:"digest"`
	CreatedAt  time.Time `json:"created_at"`
	CreatedBy  string    `json:"created_by"`          // the actor
	ExpiresAt  time.Time `json:"expires_at,omitzero"` // zero: never
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// TokenID identifies a platform token: "tok-" and 16 characters of [a-z2-7].
type TokenID string

// NewTokenID returns a random ID.
func NewTokenID() TokenID { return TokenID("tok-" + string(session.NewID())[len("ses-"):]) }

// TokenStore stores platform tokens. Every method returns a CodeStoreUnavailable error if the store cannot be reached or
// written; then nothing was changed, as far as is known.
type TokenStore interface {
	// PlatformTokens returns all tokens in the order of their creation.
	PlatformTokens(ctx context.Context) ([]PlatformToken, error)
	// CreatePlatformToken adds a token. A name that is taken is a CodeConflict error. If there are most tokens already, that is
	// a CodeLimit error, counted in the same atomic step.
	CreatePlatformToken(ctx context.Context, t PlatformToken, most int) error
	// DeletePlatformToken returns a CodeNotFound error if there is no such token.
	DeletePlatformToken(ctx context.Context, id TokenID) error
	// TouchPlatformTokens moves the last use of each token forward, never backwards. Missing tokens are ignored.
	TouchPlatformTokens(ctx context.Context, at map[TokenID]time.Time) error
}

// NoSuchToken is the error of a TokenStore for a token that it does not have.
func NoSuchToken() error {
	return session.Errorf(session.CodeNotFound, "there is no platform token with this ID; list them with berth token list (GET /tokens)")
}

// NameTaken is the error of a TokenStore for a name that another token has.
func NameTaken(name string) error {
	return session.Errorf(session.CodeConflict, "there is a platform token %q already; revoke it first, or choose another name", name)
}

// TooManyTokens is the error of a TokenStore that has as many tokens as it may.
func TooManyTokens(most int) error {
	return session.Errorf(session.CodeLimit, "there are %d platform tokens, which is the most; revoke those that are not used", most)
}

// Secrets of platform tokens can be recognised, by scanners for secrets too.
const (
	platformPrefix = "berth_pat_"
	platformRandom = 40 // characters of 5.95 bits
)

// MostTokens is how many platform tokens there may be. All are kept in memory.
const MostTokens = 1000

// Bounds of the life of a platform token that expires.
const (
	minTokenLife = time.Minute
	maxTokenLife = 10 * 365 * 24 * time.Hour
)

// The name is in records, as a word of its own.
var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// check returns a CodeInvalid error for a token that may not be created.
func (t PlatformToken) check(life time.Duration) error {
	switch {
	case !tokenName.MatchString(t.Name):
		return session.Errorf(session.CodeInvalid, "the name of a token has up to 64 of the characters A-Z a-z 0-9 . _ -, and begins with a letter or digit")
	case t.Scopes == 0:
		return session.Errorf(session.CodeInvalid, "a token needs at least one scope")
	case !session.IsPlainText(t.Owner, session.MaxOwner):
		return session.Errorf(session.CodeInvalid, "the owner must be at most %d characters of text without invisible ones", session.MaxOwner)
	case t.Owner != "" && !sessionScopes.Has(t.Scopes):
		return session.Errorf(session.CodeInvalid, "a token that is bound to an owner can have the scopes of sessions only: %s", sessionScopes)
	case life != 0 && (life < minTokenLife || life > maxTokenLife):
		return session.Errorf(session.CodeInvalid, "a token expires after at least %s and at most %s, or never", minTokenLife, maxTokenLife)
	}
	return nil
}

// PlatformDigest returns what is stored of a platform token: its HMAC-SHA256 in 64 hexadecimal digits. It differs from the digest
// that a session token of the same text would have.
func (k Keys) PlatformDigest(secret session.Secret) string { return k.digest("platform token", secret) }
