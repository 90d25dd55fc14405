package record

import (
	"time"

	"berth/internal/session"
)

// Unstorable is the error that a store returns for a session that cannot be written as JSON.
func Unstorable(cause error) error {
	return session.Errorf(session.CodeInvalid, "this session has no form in JSON and cannot be stored").Because(cause)
}

// fullRetry is when a slot may have come free: that depends on people.
const fullRetry = 30 * time.Second

// OwnerLimitReached is the error that a store returns when the limit of an owner's sessions is reached.
func OwnerLimitReached(used, max int) error {
	return session.Errorf(session.CodeOwnerLimit, "the owner has %d of %d sessions, stopped ones included; delete one, or have the operator raise MAX_SESSIONS_PER_OWNER", used, max)
}

// LimitReached is the error that a store returns when the limit of sessions is reached.
func LimitReached(used, max int) error {
	return session.Errorf(session.CodeLimit, "%d of %d sessions running; stop or delete one, or raise MAX_CONCURRENT_SESSIONS", used, max).After(fullRetry)
}
