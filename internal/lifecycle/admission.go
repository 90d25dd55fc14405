package lifecycle

import (
	"context"
)

// admit asks whether one more session may begin to take a place, beside whether a place is free, which the store decides.
//
// It is asked of a create, and of a start, restart or wake of a session that holds no place. Whatever holds one has been
// admitted already: a running session that is restarted or healed, and an operation that another process takes up, only
// go on using what they were given. To refuse them would turn a busy host into lost sessions.
func (q *queue) admit(ctx context.Context) error {
	if q.opts.Admit == nil {
		return nil
	}
	return q.opts.Admit(ctx)
}

// maxSessions is how many sessions may be creating or running at once; 0: no limit.
func (q *queue) maxSessions() int { return int(q.limit.Load()) }
