package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
)

type contextKey int

const (
	requestIDKey contextKey = iota
	sessionIDKey
)

const maxRequestID = 128

// NewRequestID makes an ID for a request without one: "req-" and 16 hexadecimal digits.
func NewRequestID() string {
	b := make([]byte, 8)
	rand.Read(b) // never fails: crypto/rand
	return "req-" + hex.EncodeToString(b)
}

// ValidRequestID reports whether a client's ID may be used: 1 to 128 characters of [A-Za-z0-9._-].
func ValidRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// WithRequestID returns a context whose log lines carry the request's ID.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey, id)
}

// RequestID returns the ID that [WithRequestID] set; "" when there is none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// WithSessionID returns a context whose log lines carry the session's ID.
func WithSessionID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, sessionIDKey, id)
}

// SessionID returns the ID that [WithSessionID] set; "" when there is none.
func SessionID(ctx context.Context) string {
	id, _ := ctx.Value(sessionIDKey).(string)
	return id
}
