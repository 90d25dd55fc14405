package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"berth/internal/session"
)

// Keys derives everything secret from one token secret (SESSION_TOKEN_SECRET). It is safe for concurrent use.
type Keys struct{ secret []byte }

// minSecret is the shortest token secret in bytes: half of HMAC-SHA256's output, the least that RFC 2104 calls safe
// for its strength.
const minSecret = 16

// NewKeys checks the secret and keeps a copy of it.
func NewKeys(secret []byte) (Keys, error) {
	if len(secret) < minSecret {
		return Keys{}, errors.New("the token secret is shorter than 16 bytes; set SESSION_TOKEN_SECRET=auto to have one made")
	}
	return Keys{secret: append([]byte(nil), secret...)}, nil
}

func (k Keys) mac(purpose, text string) []byte {
	h := hmac.New(sha256.New, k.secret)
	h.Write([]byte(purpose))
	h.Write([]byte{0}) // so that no purpose and text run into another pair
	h.Write([]byte(text))
	return h.Sum(nil)
}

// Digest returns what is stored of a session token: its HMAC-SHA256 in 64 hexadecimal digits.
func (k Keys) Digest(token session.Secret) string { return k.digest("token", token) }

func (k Keys) digest(purpose string, token session.Secret) string {
	return hex.EncodeToString(k.mac(purpose, token.Reveal()))
}

// Matches reports in constant time whether the token has this digest. No token has the empty digest.
func (k Keys) Matches(token session.Secret, digest string) bool {
	return equalDigest(k.Digest(token), digest)
}

// Upstream returns the password of a container's server: 43 characters of base64url, the same for the same container
// name as long as the token secret is the same.
func (k Keys) Upstream(containerName string) session.Secret {
	return session.Secret(base64.RawURLEncoding.EncodeToString(k.mac("upstream", containerName)))
}

// Gateway returns the token that a container shows to the gateway: 43 characters of base64url, the same for the same container name as
// long as the token secret is the same.
func (k Keys) Gateway(containerName string) session.Secret {
	return session.Secret(base64.RawURLEncoding.EncodeToString(k.mac("gateway", containerName)))
}

// FlowKey returns the key that seals the cookies of people who are about to sign in: 32 bytes, the same on every instance.
func (k Keys) FlowKey() []byte { return k.mac("oidc-flow", "") }

// IdempotentID returns the ID that an idempotency key of an owner always leads to, so that a store's primary key is
// what makes a repeated create harmless, on every instance.
func (k Keys) IdempotentID(owner, idempotencyKey string) session.ID {
	return session.IDFrom(k.mac("idempotency", owner+"\x00"+idempotencyKey))
}

// noDigest takes the place of a missing digest in comparisons. No token has it.
var noDigest = strings.Repeat("-", 64)

// equalDigest compares in constant time. Nothing is equal to the empty digest.
func equalDigest(digest, stored string) bool {
	if stored == "" {
		stored = noDigest
	}
	return subtle.ConstantTimeCompare([]byte(digest), []byte(stored)) == 1
}

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// NewToken returns so many random characters of [A-Za-z0-9] (5.95 bits each) from crypto/rand.
func NewToken(length int) session.Secret {
	token := make([]byte, 0, length)
	buf := make([]byte, length)
	for {
		rand.Read(buf)
		for _, b := range buf {
			if len(token) == length {
				return session.Secret(token)
			}
			if int(b) < 256-256%len(tokenAlphabet) { // drop the tail, or the first letters would be likelier
				token = append(token, tokenAlphabet[int(b)%len(tokenAlphabet)])
			}
		}
	}
}
