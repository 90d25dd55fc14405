package lifecycle

import (
	"cmp"
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
			return errNoToken
		}
		expires = now.Add(LinkLife)
		l.ExpiresAt = expires
		*s = s.Linked(l, now)
		return nil
	})
	return expires, err
}

// PairingLife is how long a pairing code can be used: as long as OpenCode's own.
const PairingLife = 5 * time.Minute

// NewPairing records a pairing code, which admits one browser or device to the session.
func (m *Manager) NewPairing(ctx context.Context, id session.ID, code session.Link) error {
	return m.changeSignIns(ctx, id, OpNewPairing, func(s *session.Session) error {
		now := m.opts.now()
		if !s.Token.Valid(now) {
			return errNoToken
		}
		code.Pairing, code.ExpiresAt = true, now.Add(PairingLife)
		*s = s.Linked(code, now)
		return nil
	})
}

var errNoToken = session.Errorf(session.CodeConflict, "the session has no valid token, and nobody can sign in to it; rotate its token first")

// errLink is the same for a link that was used, has expired, is another browser's, or never was.
var errLink = session.Errorf(session.CodeUnauthorized, "this link was used already or has expired; ask for a new one")

// errRenewal is the error for a code that a device has asked for, to get another token, when it is not a device that shows it.
var errRenewal = session.Errorf(session.CodeForbidden,
	"this code is for a device that renews its own token; for a browser or another device, ask for one with the session's token")

// Redeem uses up the link or the pairing code with this digest and signs the browser or the device in. A browser's binding is empty if it
// has none. Of several redeemers one gets in.
func (m *Manager) Redeem(ctx context.Context, id session.ID, link, binding string, in session.SignIn) error {
	op := OpSignIn
	if in.Device {
		op = OpPair
	}
	return m.changeSignIns(ctx, id, op, func(s *session.Session) error {
		now := m.opts.now()
		next, used, ok := s.Redeemed(link, binding, now)
		switch {
		case !ok, in.Device && !used.Pairing:
			return errLink
		case used.Renews == "":
			in.Browser, in.Token = cmp.Or(used.Name, in.Browser), used.Token
			*s = next.SignedIn(m.dated(in, now), now)
			return nil
		case in.Device:
			if next, ok = next.Renewed(used.Renews, in.Digest, now.Add(m.opts.DeviceLife), now); !ok {
				return errLink // the device has been signed out
			}
			*s = next
			return nil
		}
		return errRenewal
	})
}

// ConfirmDevice ends the previous token of a device that uses its new one, which has this digest. A CodeUnauthorized error says that it is
// none.
func (m *Manager) ConfirmDevice(ctx context.Context, id session.ID, device, digest string) error {
	return m.changeSignIns(ctx, id, OpPair, func(s *session.Session) error {
		next, ok := s.Confirmed(device, digest, m.opts.now())
		if !ok {
			return session.Errorf(session.CodeUnauthorized, "the device's token was replaced or has ended; pair it again")
		}
		*s = next
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
	if in.Device {
		in.ExpiresAt = now.Add(m.opts.DeviceLife)
	}
	return in
}

// SignOut ends the sign-in of a browser or a device; its streams end with it. A CodeNotFound error says that there is none with this ID.
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
