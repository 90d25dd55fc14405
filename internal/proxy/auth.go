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
	secret := access.ReadCredential(c.in.Header["Authorization"], access.ViaBearer|access.ViaBasic)
	if secret == "" {
		secret = policy.TokenIn(c.request.Target.Query)
	}
	if c.principal, err = p.access.Admit(c.in.Context(), p.ask(c, secret), e); err != nil {
		return err
	}
	if c.entry, c.grant = e, e.present; c.principal.Kind == access.PreviousToken {
		c.grant = e.previous
	}
	return nil
}

func (*Proxy) ask(c *call, secret session.Secret) access.Ask {
	return access.Ask{Surface: access.Proxy, Operation: "proxy", Verb: access.Open, Session: c.request.Place.Session, Secret: secret}
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

// OwnerOf implements [access.Sessions]. Nobody opens a session as its owner.
func (e *entry) OwnerOf(_ context.Context, id session.ID) (string, error) {
	return "", session.NotFound(id)
}
