package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"berth/internal/session"
)

// Throttle limits requests without a valid token by client address; see [AddressThrottle].
type Throttle interface {
	// Failed counts a rejected request and returns the time until the client may try again; 0: at once.
	Failed(site netip.Addr, state TokenState) (wait time.Duration)
	// Limited reports whether a request without a valid token is to be rejected unread now. It counts nothing.
	Limited(site netip.Addr) bool
}

// Options are what an [Authority] is made of.
type Options struct {
	Keys        Keys
	Tokens      *Registry      // platform tokens; nil: there are none
	People      People         // nil: nobody signs in
	Provider    string         // names what says who people are; with another one, their browsers have to sign in again
	AdminToken  session.Secret // the operator's, at least 16 characters; empty: there is no operator
	TokenLength int            // of new session tokens, in characters; default 32
	Throttle    Throttle       // nil: nothing is limited
	Trail       *Trail         // nil: nothing is recorded
	Now         func() time.Time

	// Rejected is called for every rejected request, with one of [Reasons]. It must not block. nil: not called.
	Rejected func(s Surface, reason string)
}

const minAdminToken = 16

// Rotations with a session's own token. Each is a line of the audit trail and of the log, and a write to the store:
// without a bound one session's user could rotate all other records out of the trail.
const (
	rotationBurst = 5
	rotationEvery = time.Minute
	mostRotated   = 8192 // sessions
)

// Authority admits requests. It is safe for concurrent use.
type Authority struct {
	Options
	admin     [sha256.Size]byte
	rotations *Limiter[session.ID]
	links     *Limiter[linker]
	persons   *personSignIns
}

// New checks the options.
func New(o Options) (*Authority, error) {
	if admin := o.AdminToken.Reveal(); admin != "" && len(admin) < minAdminToken {
		return nil, errors.New("the admin token is shorter than 16 characters")
	}
	o.TokenLength = cmp.Or(o.TokenLength, 32)
	if o.Throttle == nil {
		o.Throttle = unlimited{}
	}
	if o.Trail == nil {
		o.Trail = NewTrail(slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.People == nil {
		o.People = nobody{}
	}
	if o.Rejected == nil {
		o.Rejected = func(Surface, string) {}
	}
	return &Authority{
		Options: o, admin: sha256.Sum256([]byte(o.AdminToken.Reveal())),
		rotations: NewLimiter[session.ID](rotationBurst, rotationEvery, mostRotated),
		links:     NewLimiter[linker](linkBurst, linkEvery, mostRotated),
		persons:   newPersonSignIns(o.Keys, o.Provider, o.Now),
	}, nil
}

// unlimited is a Throttle without a limit.
type unlimited struct{}

func (unlimited) Failed(netip.Addr, TokenState) time.Duration { return 0 }
func (unlimited) Limited(netip.Addr) bool                     { return false }

// Ask is a request, as far as its admission goes.
type Ask struct {
	Surface   Surface
	Operation string // names it in records
	Verb      Verb
	Session   session.ID     // what it is about; empty: no session
	Secret    session.Secret // the token that it shows; see [ReadCredential]
	Person    session.Secret // of the cookie of a person's browser, where it counts: see [PersonCookie]; a token goes first
}

// Sessions knows the tokens and the owners of sessions.
type Sessions interface {
	// TokenOf returns the zero Token if there is no such session.
	TokenOf(ctx context.Context, id session.ID) session.Token
	// OwnerOf returns "" for a session that nobody owns, and a CodeNotFound error if there is no such session.
	OwnerOf(ctx context.Context, id session.ID) (string, error)
}

// Admit returns the principal of a request, or a [RejectionError] if the request is not permitted. For anyone who does not reach
// all sessions, the error and the cost are the same for another's session and for one that does not exist. A session's token
// is not looked up for a request without a token, or for a verb that no session token permits; its owner is looked up only for
// a principal who reaches the sessions of one owner.
func (a *Authority) Admit(ctx context.Context, q Ask, known Sessions) (Principal, error) {
	p, state, err := a.identify(ctx, q, known)
	if err != nil && Reaches(q.Verb, Anonymous) == None {
		return Principal{}, err
	}
	owner, err := ownerFor(ctx, p, q, known)
	if err != nil {
		return Principal{}, err
	}
	switch {
	case May(p, q.Verb, q.Session, owner):
	case p.Kind == Owner || p.Kind == Platform:
		return Principal{}, a.deny(ctx, p, q)
	default:
		if state.Valid() {
			state = Wrong
		}
		return Principal{}, a.reject(ctx, q, state)
	}
	if Reaches(q.Verb, Anonymous) == None {
		ClientOf(ctx).admit(p, q.Surface)
		a.Trail.admitted(ctx, p, q.Session, q.Operation, false)
	}
	return p, nil
}

// identify returns the principal of a request's token, and the token's state, which is not valid for an anonymous principal. The
// error is that of a token that cannot be checked.
func (a *Authority) identify(ctx context.Context, q Ask, known Sessions) (Principal, TokenState, error) {
	if q.Secret != "" && Reaches(q.Verb, Operator) != None && a.isOperator(q.Secret) {
		return Principal{Kind: Operator}, Present, nil
	}
	if q.Secret == "" && q.Person != "" && q.Surface == API {
		if p, ok := a.persons.verify(q.Person); ok {
			return p, Present, nil
		}
	}
	other := Wrong // the state of a token that is not a session's
	if q.Secret != "" && (q.Surface == API || Reaches(q.Verb, Platform) != None) {
		p, state, err := a.Tokens.verify(q.Secret)
		if err == nil && state == Wrong {
			p, state, err = a.person(ctx, q.Secret)
		}
		if other = state; err != nil || state.Valid() || state == Expired {
			return p, state, err
		}
	}
	if Reaches(q.Verb, SessionToken) != Own {
		if q.Secret == "" {
			return Principal{}, Missing, nil
		}
		return Principal{}, other, nil
	}
	var token session.Token
	if q.Secret != "" {
		token = known.TokenOf(ctx, q.Session)
	}
	state, digest := a.Keys.check(q.Secret, token, a.Now())
	switch state {
	case Present:
		return Principal{Kind: SessionToken, Session: q.Session, digest: digest}, state, nil
	case Previous:
		return Principal{Kind: PreviousToken, Session: q.Session, digest: digest}, state, nil
	default:
		return Principal{}, state, nil
	}
}

func (a *Authority) isOperator(secret session.Secret) bool {
	digest := sha256.Sum256([]byte(secret.Reveal()))
	return a.AdminToken != "" && subtle.ConstantTimeCompare(digest[:], a.admin[:]) == 1
}

// reject counts a request that is not admitted. Only what is within the limit of its address gets a record of its own.
func (a *Authority) reject(ctx context.Context, q Ask, state TokenState) *RejectionError {
	site := ClientOf(ctx).Site
	if wait := a.Throttle.Failed(site, state); wait > 0 {
		a.Trail.omit(source{site: site, outcome: Refused})
		a.Rejected(q.Surface, Limited)
		return limit(q.Surface, wait)
	}
	a.Trail.rejected(ctx, q, state)
	a.Rejected(q.Surface, string(state))
	return Reject(q.Surface, state)
}

// deny counts a request whose principal is known and may not make it. Another's session does not exist for its sender.
func (a *Authority) deny(ctx context.Context, p Principal, q Ask) *RejectionError {
	a.Trail.denied(ctx, p, q)
	a.Rejected(q.Surface, Forbidden)
	return forbid(p, q)
}

// IsLimited reports whether the client of ctx has sent so many requests without a valid token that the store is not queried for
// its next one.
func (a *Authority) IsLimited(ctx context.Context) bool {
	return a.Throttle.Limited(ClientOf(ctx).Site)
}

// StreamBegan records that an admitted request has become a stream.
func (a *Authority) StreamBegan(ctx context.Context, p Principal) {
	a.Trail.admitted(ctx, p, p.Session, "stream", true)
}

// MayRotate counts a rotation of a session's token that its holder asks for, and returns a CodeTooManyAttempts error if
// there were too many.
func (a *Authority) MayRotate(p Principal, id session.ID) error {
	if p.Kind == Operator {
		return nil
	}
	if wait := a.rotations.Take(id); wait > 0 {
		return session.Errorf(session.CodeTooManyAttempts,
			"this session's token has replaced itself too often; try again later, or have the operator rotate it").After(wait)
	}
	return nil
}

// Issue makes a session token: the secret is shown once, the digest is recorded.
func (a *Authority) Issue() (secret session.Secret, digest string) {
	secret = NewToken(a.TokenLength)
	return secret, a.Keys.Digest(secret)
}
