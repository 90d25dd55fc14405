package access

import (
	"context"
	"time"

	"berth/internal/session"
)

// Kind is what a principal is.
type Kind uint8

// Every kind.
const (
	Anonymous     Kind = iota // shows no token, or none that is valid where it is shown
	Operator                  // shows the admin token
	SessionToken              // shows the token of a session
	PreviousToken             // shows the previous token, in its grace
	kinds                     // how many there are
)

// Principal is who makes a request. The zero value is anonymous.
type Principal struct {
	Kind    Kind
	Session session.ID // of the token; empty: it is not a session's

	digest string // of that token
}

// Actor names the principal in records.
func (p Principal) Actor() string {
	switch p.Kind {
	case Operator:
		return "operator"
	case SessionToken, PreviousToken:
		return "user"
	default:
		return "anonymous"
	}
}

// state is that of the token by which the principal was found.
func (p Principal) state() TokenState {
	if p.Kind == PreviousToken {
		return Previous
	}
	return Present
}

// StillHolds reports whether what the principal was admitted to may go on, given what is recorded of its session's tokens
// now.
func (p Principal) StillHolds(t session.Token, now time.Time) bool {
	switch {
	case p.Kind == Operator:
		return true
	case p.digest == "":
		return false
	case p.digest == t.Digest:
		return session.Unexpired(t.ExpiresAt, now)
	}
	return p.digest == t.PreviousDigest && session.Unexpired(t.PreviousExpiresAt, now)
}

type principalKey struct{}

// WithPrincipal returns ctx with the principal of its request, who is also its actor.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	if p.Kind != Anonymous {
		ctx = session.WithActor(ctx, p.Actor())
	}
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf returns the principal of ctx; anonymous if there is none.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
