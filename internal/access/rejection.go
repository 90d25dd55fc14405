package access

import (
	"errors"
	"time"

	"berth/internal/session"
)

// Surface is where tokens are shown. The values are in metrics.
type Surface string

// Every surface.
const (
	API   Surface = "api"
	Proxy Surface = "proxy"
)

// Reasons of rejections. The other reasons are the states of invalid tokens.
const (
	Limited   = "limited"   // beyond the rate limit of its address
	Forbidden = "forbidden" // the token is valid and does not permit the request
)

// Reasons lists the reasons of rejections.
func Reasons() []string {
	return []string{string(Missing), string(Wrong), string(Expired), Limited, Forbidden}
}

// RejectionError is the error of a request that is not admitted: a CodeUnauthorized failure, a CodeTooManyAttempts one for the
// reason [Limited], and for the reason [Forbidden] a CodeForbidden one, or a CodeNotFound one where another's session is meant.
type RejectionError struct {
	*session.Failure
	Reason string
}

// Unwrap gives the failure, which is all that the caller may know.
func (r *RejectionError) Unwrap() error { return r.Failure }

func rejection(state TokenState, text string) *RejectionError {
	return &RejectionError{session.Errorf(session.CodeUnauthorized, "%s", text), string(state)}
}

// At the proxy a missing token is answered like a wrong one, whether or not there is such a session.
const notOwn = "this session does not exist or the token is not its own; send the session's token as Authorization: Bearer <token>"

var rejections = map[Surface]map[TokenState]*RejectionError{
	API: {
		Missing: rejection(Missing, "this needs a token: send it as Authorization: Bearer <token>"),
		Wrong:   rejection(Wrong, "this token is not valid for this request; send the admin token, or for a session's own address its session token"),
		Expired: rejection(Expired, "the session's token has expired; have the operator rotate it and use the new one"),
	},
	Proxy: {
		Missing: rejection(Missing, notOwn),
		Wrong:   rejection(Wrong, notOwn),
		Expired: rejection(Expired, "the session's token has expired; have it rotated with POST /sessions/{id}/auth/rotate and use the new one"),
	},
}

var tooMany = map[Surface]*session.Failure{
	API: session.Errorf(session.CodeTooManyAttempts,
		"too many requests without a valid token came from this address; send a valid one, or try again later"),
	Proxy: session.Errorf(session.CodeTooManyAttempts,
		"too many requests without a valid token came from this address; send the session's token, or try again later"),
}

// Reject is the error of a request with a token in this state, which is not valid.
func Reject(s Surface, state TokenState) *RejectionError { return rejections[s][state] }

func limit(s Surface, wait time.Duration) *RejectionError {
	return &RejectionError{tooMany[s].After(wait), Limited}
}

// forbid is the error of a request that its principal may not make.
func forbid(p Principal, q Ask) *RejectionError {
	f := session.Errorf(session.CodeForbidden, "this is for the operator only")
	switch need := scopes[q.Verb]; {
	case p.Reach(q.Verb) == Owned && q.Session == "":
		f = session.Errorf(session.CodeNotFound, "there is no session with this ID")
	case p.Reach(q.Verb) == Owned:
		f, _ = errors.AsType[*session.Failure](session.NotFound(q.Session))
	case p.Kind == Platform && !p.Scopes.Has(need):
		f = session.Errorf(session.CodeForbidden, "this token does not have the scope %s; have one created that has it", need)
	}
	return &RejectionError{f, Forbidden}
}
