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

// authenticate returns the session's entry if the request shows its token. Whatever is wrong, and whether or not there
// is such a session, exactly one digest is computed and compared.
func (p *Proxy) authenticate(r *http.Request, id session.ID) (*entry, error) {
	e := p.table.entry(id)
	digest, known := p.dummyDigest, false
	if e != nil && e.route.TokenDigest != "" {
		digest, known = e.route.TokenDigest, true
	}
	if !p.keys.Matches(tokenOf(r), digest) || !known {
		return nil, errUnauthorized
	}
	if expiry := e.route.TokenExpiresAt; !expiry.IsZero() && !p.now().Before(expiry) {
		return nil, errExpired
	}
	return e, nil
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
