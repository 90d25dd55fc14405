package access

import (
	"context"

	"berth/internal/session"
)

// People knows the tokens with which persons sign in, which another system has issued.
type People interface {
	// Verify returns the person whose token this is: an [Owner], or an [Operator] with a Name. The state of anything that is no
	// such token is [Wrong]. It is called for every token that is no other one, so that it must be cheap for those.
	Verify(ctx context.Context, secret session.Secret) (Principal, TokenState)
}

// nobody is People without a person.
type nobody struct{}

func (nobody) Verify(context.Context, session.Secret) (Principal, TokenState) {
	return Principal{}, Wrong
}

// person returns the person whose token this is, with what can be relied on: an owner has a name that a session can have.
func (a *Authority) person(ctx context.Context, secret session.Secret) (Principal, TokenState) {
	p, state := a.People.Verify(ctx, secret)
	switch {
	case !state.Valid():
		return Principal{}, state
	case p.Kind == Owner && p.Owner != "" && session.IsPlainText(p.Owner, session.MaxOwner):
	case p.Kind == Operator && p.Name != "" && session.IsPlainText(p.Name, session.MaxOwner):
	default:
		return Principal{}, Wrong
	}
	if !session.Unexpired(p.Until, a.Now()) {
		return Principal{}, Expired
	}
	return Principal{Kind: p.Kind, Owner: p.Owner, Name: p.Name, Until: p.Until}, Present
}

// While returns ctx with an end when the principal's sign-in or platform token expires, and when the token is revoked. It does
// not end with a session's token, which is looked up.
func (a *Authority) While(ctx context.Context, p Principal) (context.Context, context.CancelFunc) {
	if p.Until.IsZero() && p.token == nil {
		return ctx, func() {}
	}
	within, cancel := context.WithCancelCause(ctx)
	unwatch, forget := func() bool { return true }, context.CancelFunc(func() {})
	if p.token != nil {
		unwatch = context.AfterFunc(p.token.valid, func() { cancel(context.Cause(p.token.valid)) })
	}
	if !p.Until.IsZero() {
		within, forget = context.WithTimeoutCause(within, p.Until.Sub(a.Now()), Reject(API, Expired))
	}
	return within, func() {
		unwatch()
		forget()
		cancel(context.Canceled)
	}
}
