package proxy

import (
	"context"

	"berth/internal/access"
	"berth/internal/session"
)

// errExpired is the cause with which requests end when their token expires.
var errExpired = access.Reject(access.Proxy, access.Expired)

// authenticate checks the token of a call and sets the session's entry and the token's grant.
func (p *Proxy) authenticate(c *call) (err error) {
	e := p.table.entry(c.request.Place.Session)
	c.entry, c.grant = nil, nil
	c.principal, err = p.access.Admit(c.in.Context(), access.Ask{
		Surface: access.Proxy, Operation: "proxy", Verb: access.Open, Session: c.request.Place.Session,
		Secret: access.ReadCredential(c.in.Header["Authorization"], access.ViaBearer|access.ViaBasic),
	}, e)
	if err != nil {
		return err
	}
	if c.entry, c.grant = e, e.present; c.principal.Kind == access.PreviousToken {
		c.grant = e.previous
	}
	return nil
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
