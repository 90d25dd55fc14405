package access

import (
	"context"

	"berth/internal/session"
)

// NewPairingCode makes the code with which a device pairs with a session: the code is shown once, the digest is recorded.
func (a *Authority) NewPairingCode() (code session.Secret, digest string) {
	code = NewToken(codeLength)
	return code, a.Keys.PairingDigest(code)
}

// NewDevice makes a device's sign-in, without its dates, and its token. It is not the value of a cookie: neither is accepted as the other.
func (a *Authority) NewDevice(userAgent string) (token session.Secret, in session.SignIn) {
	token, in = a.NewSignIn(userAgent)
	in.Digest, in.Device = a.Keys.deviceDigest(token), true
	return token, in
}

// PairingDigest returns what is stored of a pairing code.
func (k Keys) PairingDigest(code session.Secret) string { return k.digest("pairing", code) }

func (k Keys) deviceDigest(token session.Secret) string { return k.digest("device", token) }

// AdmitDevice returns the principal of a request that shows the token of one of the session's devices. It is false for any other token, at a
// cost that does not depend on whether there is such a session. A digest is returned if the token is a new one, which the device has not
// used before.
func (a *Authority) AdmitDevice(ctx context.Context, q Ask, known []session.SignIn) (p Principal, fresh string, ok bool) {
	digest, now := a.Keys.deviceDigest(q.Secret), a.Now()
	p = Principal{Kind: Device, Session: q.Session}
	for _, in := range known {
		switch {
		case !in.Device:
		case equalDigest(digest, in.Digest) && now.Before(in.ExpiresAt):
			a.signInOf(&p, in)
		case equalDigest(digest, in.NextDigest) && now.Before(in.NextExpiresAt):
			a.signInOf(&p, in)
			fresh = digest
		}
	}
	if p.SignIn == "" || !May(p, q.Verb, q.Session, "") {
		return Principal{}, "", false
	}
	ClientOf(ctx).admit(p, q.Surface)
	a.Trail.admitted(ctx, p, q.Session, q.Operation, false)
	return p, fresh, true
}
