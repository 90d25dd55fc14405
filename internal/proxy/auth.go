package proxy

import (
	"context"

	"berth/internal/access"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// errExpired is the cause with which requests end when their token expires.
var errExpired = access.Reject(access.Proxy, access.Expired)

// authenticate checks the credentials of a call and sets the session's entry and the credential's grant. A cookie goes first: the
// Authorization field may be the session's own application's.
func (p *Proxy) authenticate(c *call) (err error) {
	e := p.table.entry(c.request.Place.Session)
	c.entry, c.grant = nil, nil
	if c.request.MayUseCookie() {
		if cookies := c.request.Cookies(policy.CookieName(c.request.Place.Session)); len(cookies) > 0 {
			principal, ok := p.access.AdmitSignIn(c.in.Context(), p.ask(c, ""), cookies, e.signIns())
			if ok && e.signedIn[principal.SignIn] != nil {
				c.principal, c.entry, c.grant = principal, e, e.signedIn[principal.SignIn]
				return nil
			}
		}
	}
	if c.principal, c.entry, err = p.admitSecret(c, p.ask(c, c.secret())); err != nil {
		return err
	}
	switch c.principal.Kind {
	case access.Device:
		c.grant = c.entry.signedIn[c.principal.SignIn]
	case access.PreviousToken:
		c.grant = c.entry.previous
	default:
		c.grant = c.entry.present
	}
	if c.grant == nil {
		return errSignedOut
	}
	return nil
}

// secret returns the token that a request shows, other than by a cookie.
func (c *call) secret() session.Secret {
	secret := access.ReadCredential(c.in.Header["Authorization"], access.ViaBearer|access.ViaBasic)
	if secret == "" {
		secret = policy.TokenIn(c.request.Target.Query)
	}
	return secret
}

// admitSecret returns the principal of a request's token, and the session's entry; nil if there is no such session.
func (p *Proxy) admitSecret(c *call, ask access.Ask) (principal access.Principal, e *entry, err error) {
	if p.rules.Devices {
		if principal, e, err = p.admitDevice(c, ask); e != nil || err != nil {
			return principal, e, err
		}
	}
	e = p.table.entry(ask.Session)
	if principal, err = p.access.Admit(c.in.Context(), ask, e); err != nil {
		return access.Principal{}, nil, err
	}
	return principal, e, nil
}

func (*Proxy) ask(c *call, secret session.Secret) access.Ask {
	return access.Ask{Surface: access.Proxy, Operation: "proxy", Verb: access.Open, Session: c.request.Place.Session, Secret: secret}
}

// endWithToken ends a call with the platform token with whose link its browser or device has signed in, until it is called back.
func (p *Proxy) endWithToken(c *call) (done func()) {
	valid, forget := p.access.While(context.WithoutCancel(c.in.Context()), c.principal)
	unwatch := context.AfterFunc(valid, func() { c.stop(errSignedOut) })
	return func() {
		unwatch()
		forget()
	}
}

// signIns returns those of the session. A nil entry has none.
func (e *entry) signIns() []session.SignIn {
	if e == nil {
		return nil
	}
	return e.route.SignIns
}

// TokenOf implements [access.Sessions]. A nil entry has no token.
func (e *entry) TokenOf(context.Context, session.ID) session.Token {
	if e == nil {
		return session.Token{}
	}
	return e.route.Token
}

// OwnerOf implements [access.Sessions]. A nil entry is no session.
func (e *entry) OwnerOf(_ context.Context, id session.ID) (string, error) {
	if e == nil {
		return "", session.NotFound(id)
	}
	return e.route.Owner, nil
}
