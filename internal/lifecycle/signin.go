package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// LinkLife is how long a link can be used. It is short, because a link may be seen in a browser's history or a chat.
const LinkLife = time.Minute

// NewLink records a link, which admits one browser to the session, and returns when it expires.
func (m *Manager) NewLink(ctx context.Context, id session.ID, l session.Link) (time.Time, error) {
	var expires time.Time
	err := m.changeSignIns(ctx, id, OpNewLink, func(s *session.Session) error {
		now := m.opts.now()
		if !s.Token.Valid(now) {
			return session.Errorf(session.CodeConflict, "the session has no valid token, and nobody can sign in to it; rotate its token first")
		}
		expires = now.Add(LinkLife)
		l.ExpiresAt = expires
		*s = s.Linked(l, now)
		return nil
	})
	return expires, err
}

// errLink is the same for a link that was used, has expired, is another browser's, or never was.
var errLink = session.Errorf(session.CodeUnauthorized, "this link was used already or has expired; ask for a new one")

// Redeem uses up the link with this digest and signs the browser in, whose binding is empty if it has none. Of several redeemers
// one gets in.
func (m *Manager) Redeem(ctx context.Context, id session.ID, link, binding string, in session.SignIn) error {
	return m.changeSignIns(ctx, id, OpSignIn, func(s *session.Session) error {
		now := m.opts.now()
		next, ok := s.Redeemed(link, binding, now)
		if !ok {
			return errLink
		}
		*s = next.SignedIn(m.dated(in, now), now)
		return nil
	})
}

// SignIn signs in a browser whose user has shown the session's token with this digest.
func (m *Manager) SignIn(ctx context.Context, id session.ID, token string, in session.SignIn) error {
	return m.changeSignIns(ctx, id, OpSignIn, func(s *session.Session) error {
		now := m.opts.now()
		if s.Token.Digest != token || !s.Token.Valid(now) { // it was replaced meanwhile
			return session.Errorf(session.CodeUnauthorized, "the session's token was replaced; use the new one")
		}
		*s = s.SignedIn(m.dated(in, now), now)
		return nil
	})
}

func (m *Manager) dated(in session.SignIn, now time.Time) session.SignIn {
	in.At, in.ExpiresAt = now, now.Add(m.opts.SignInLife)
	return in
}

// SignOut ends a sign-in; its streams end with it. A CodeNotFound error says that there is none with this ID.
func (m *Manager) SignOut(ctx context.Context, id session.ID, signIn string) error {
	return m.changeSignIns(ctx, id, OpSignOut, func(s *session.Session) error {
		next, ok := s.SignedOut(signIn, m.opts.now())
		if !ok {
			return session.Errorf(session.CodeNotFound, "the session has no such sign-in; it may have ended")
		}
		*s = next
		return nil
	})
}

// changeSignIns changes a session's record and reports the operation.
func (m *Manager) changeSignIns(ctx context.Context, id session.ID, op string, change func(*session.Session) error) error {
	did := OperationResult{Operation: op, Session: id}
	if _, err := m.records.change(ctx, id, change); err != nil {
		return m.reports.reportRefusal(ctx, did, err)
	}
	m.reports.reportResult(ctx, did)
	return nil
}
