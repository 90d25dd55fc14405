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
	Operator                  // shows the admin token, or is a person with that role
	Platform                  // shows a platform token
	Owner                     // is a person who has signed in
	SessionToken              // shows the token of a session
	PreviousToken             // shows the previous token, in its grace
	SignedIn                  // is a browser that has signed in to a session
	Device                    // shows the token of a device that has paired with a session
	kinds                     // how many there are
)

// Principal is who makes a request. The zero value is anonymous.
type Principal struct {
	Kind    Kind
	Session session.ID // of the token or the sign-in; empty: it is not a session's
	SignIn  string     // the ID of a browser's or a device's sign-in; empty: there is none
	Owner   string     // the person; of a platform token, whom it is bound to; empty: nobody
	Scopes  Scopes     // of a platform token
	Name    string     // of a platform token, and of a person with the operator's role; for records
	Until   time.Time  // when a sign-in ends, or a platform token; zero: not

	// AuthTime is when a person has signed in at the identity provider, which may be long before the sign-in here; zero: it is not
	// a person, or the provider does not say.
	AuthTime time.Time

	digest string      // of a session's token
	token  *knownToken // of a platform token, and of a sign-in with its link
	person string      // the ID of a person's sign-in in a browser
}

// Actor names the principal in records.
func (p Principal) Actor() string {
	switch p.Kind {
	case Operator:
		if p.Name != "" {
			return "operator:" + p.Name
		}
		return "operator"
	case Platform:
		return "token:" + p.Name
	case Owner:
		return "owner:" + p.Owner
	case SessionToken, PreviousToken, SignedIn, Device:
		return "user"
	default:
		return "anonymous"
	}
}

// PlatformToken returns the ID of the platform token that the principal shows; empty: it shows none.
func (p Principal) PlatformToken() TokenID {
	if p.Kind != Platform || p.token == nil {
		return ""
	}
	return p.token.ID
}

// Subject is what the records and log lines of a principal are counted under. Values can be compared.
type Subject struct {
	Kind Kind   // PreviousToken, SignedIn and Device count as SessionToken
	Name string // the session, the owner, or the name of the platform token
}

// Subject returns what the principal is counted under.
func (p Principal) Subject() Subject {
	switch p.Kind {
	case SessionToken, PreviousToken, SignedIn, Device:
		return Subject{SessionToken, string(p.Session)}
	case Owner:
		return Subject{Owner, p.Owner}
	default:
		return Subject{p.Kind, p.Name}
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
	case p.token != nil && p.token.valid.Err() != nil:
		return false
	case p.Kind == Operator, p.Kind == Owner, p.Kind == Platform:
		return session.Unexpired(p.Until, now)
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
