package access

import (
	"context"

	"berth/internal/session"
)

// People knows the tokens with which persons sign in, which another system has issued.
type People interface {
	// Verify returns the person whose token this is: an [Owner], or an [Operator] with a Name. The state of anything that is no
	// such token is [Wrong]. It is called for every token that is no other one, so that it must be cheap for those. An error is
	// a failure that says nothing about the token, such as CodeIdentityUnavailable.
	Verify(ctx context.Context, secret session.Secret) (Principal, TokenState, error)
}

// nobody is People without a person.
type nobody struct{}

func (nobody) Verify(context.Context, session.Secret) (Principal, TokenState, error) {
	return Principal{}, Wrong, nil
}

// person returns the person whose token this is, with what can be relied on: an owner has a name that a session can have.
func (a *Authority) person(ctx context.Context, secret session.Secret) (Principal, TokenState, error) {
	p, state, err := a.People.Verify(ctx, secret)
	switch {
	case err != nil, !state.Valid():
		return Principal{}, state, err
	case p.Kind == Owner && p.Owner != "" && session.IsPlainText(p.Owner, session.MaxOwner):
	case p.Kind == Operator && p.Name != "" && session.IsPlainText(p.Name, session.MaxOwner):
	default:
		return Principal{}, Wrong, nil
	}
	if !session.Unexpired(p.Until, a.Now()) {
		return Principal{}, Expired, nil
	}
	return Principal{Kind: p.Kind, Owner: p.Owner, Name: p.Name, Until: p.Until, AuthTime: p.AuthTime}, Present, nil
}

// While returns ctx with an end when the principal's sign-in or platform token expires, and when the person signs out or the token is
// revoked. It does not end with a session's token, which is looked up.
func (a *Authority) While(ctx context.Context, p Principal) (context.Context, context.CancelFunc) {
	if p.Until.IsZero() && p.token == nil {
		return ctx, func() {}
	}
	within, cancel := context.WithCancelCause(ctx)
	valid, done, forget := context.Background(), func() {}, context.CancelFunc(func() {})
	switch {
	case p.token != nil:
		valid = p.token.valid
	case p.person != "":
		valid, done = a.persons.use(p.person)
	}
	unwatch := context.AfterFunc(valid, func() { cancel(context.Cause(valid)) })
	if !p.Until.IsZero() {
		within, forget = context.WithTimeoutCause(within, p.Until.Sub(a.Now()), Reject(API, Expired))
	}
	return within, func() {
		unwatch()
		done()
		forget()
		cancel(context.Canceled)
	}
}

// Permit returns a [RejectionError] unless a principal who is known already may make a request.
func (a *Authority) Permit(ctx context.Context, p Principal, q Ask, known Sessions) error {
	owner, err := ownerFor(ctx, p, q, known)
	if err != nil {
		return err
	}
	if !May(p, q.Verb, q.Session, owner) {
		return a.deny(ctx, p, q)
	}
	a.Trail.admitted(ctx, p, q.Session, q.Operation, false)
	return nil
}

// ownerFor returns the owner of the session that a request is about, if it matters; "" if there is no such session.
func ownerFor(ctx context.Context, p Principal, q Ask, known Sessions) (string, error) {
	if q.Session == "" || p.Reach(q.Verb) != Owned {
		return "", nil
	}
	owner, err := known.OwnerOf(ctx, q.Session)
	if session.CodeOf(err) == session.CodeNotFound {
		return "", nil
	}
	return owner, err
}

// LimitError returns the error of a request in which a person signs in, if its address has sent too many without success.
func (a *Authority) LimitError(ctx context.Context, q Ask) error {
	if !a.IsLimited(ctx) {
		return nil
	}
	return a.reject(ctx, q, Wrong)
}

// Reject counts and records a request in which nobody has signed in.
func (a *Authority) Reject(ctx context.Context, q Ask) { _ = a.reject(ctx, q, Wrong) }

// SignedIn records that a person has signed in, or out.
func (a *Authority) SignedIn(ctx context.Context, p Principal, q Ask) {
	ClientOf(ctx).admit(p, q.Surface)
	a.Trail.admitted(ctx, p, q.Session, q.Operation, true)
}
