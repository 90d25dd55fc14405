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

// LimitReached is the error that a store returns when the limit of sessions is reached.
func LimitReached(used, max int) error {
	return session.Errorf(session.CodeLimit, "%d of %d sessions running; stop or delete one, or raise MAX_CONCURRENT_SESSIONS", used, max).After(fullRetry)
}
