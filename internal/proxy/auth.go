package proxy

import (
	"net/http"
	"strings"

	"berth/internal/session"
)

// errUnauthorized answers every request that does not show the right token, whether the session exists or not.
var errUnauthorized = session.Errorf(session.CodeUnauthorized,
	"this session does not exist or the token is not its own; send the session's token as Authorization: Bearer <token>")

var errExpired = session.Errorf(session.CodeUnauthorized,
	"the session's token has expired; have it rotated with POST /sessions/{id}/auth/rotate and use the new one")

// authenticate returns the session's entry if the request shows its token, and the pass that goes with the token.
// Whatever is wrong, and whether or not there is such a session, it does the same work; see [session.Keys.Check].
func (p *Proxy) authenticate(r *http.Request, id session.ID) (*entry, *pass, error) {
	e := p.table.entry(id)
	var tokens session.Token
	if e != nil {
		tokens = e.route.Token
	}
	standing := p.keys.Check(tokenOf(r), tokens, p.now())
	switch standing {
	case session.Present:
		p.told(r.Context(), id, standing, false)
		return e, e.present, nil
	case session.Previous:
		p.told(r.Context(), id, standing, false)
		return e, e.previous, nil
	case session.Expired, session.Wrong, session.Missing:
	}
	if wait := p.refused(r.Context(), id, standing); wait > 0 {
		return nil, nil, session.Errorf(session.CodeTooManyAttempts,
			"too many requests without a valid token came from this address; send the session's token, or try again later").After(wait)
	}
	if standing == session.Expired {
		return nil, nil, errExpired
	}
	return nil, nil, errUnauthorized
}

// tokenOf returns the Bearer token, or the password of HTTP Basic for clients that know nothing else (git, curl -u).
// It is empty when there is neither, and when there is more than one Authorization header, which servers read
// differently.
func tokenOf(r *http.Request) session.Secret {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if strings.EqualFold(scheme, "Bearer") {
		return session.Secret(strings.TrimSpace(rest))
	}
	_, password, _ := r.BasicAuth()
	return session.Secret(password)
}
