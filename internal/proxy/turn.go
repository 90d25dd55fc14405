package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// turns bound what a session's server works on at once: one element for each turn that is taken.
type turns chan struct{}

// turn is one of them that a call has; none, if it is zero. Only the call's handler uses it.
type turn struct{ of turns }

// giveBack may be called again.
func (t *turn) giveBack() {
	if t.of != nil {
		<-t.of
		t.of = nil
	}
}

// takeTurn waits for one of the session's turns for requests. Streams give theirs back when they are known to be streams (see
// takeStream), so that a hundred open terminals do not stop a request, and a client that opens connections without end
// cannot use up the file descriptors of everyone.
func (u *upstream) takeTurn(ctx context.Context, waiting *atomic.Int64) (turn, error) {
	select {
	case u.requests <- struct{}{}:
		return turn{u.requests}, nil
	default:
	}
	waiting.Add(1)
	defer waiting.Add(-1)
	timer := time.NewTimer(u.settings.ConnectTimeout)
	defer timer.Stop()
	select {
	case u.requests <- struct{}{}:
		return turn{u.requests}, nil
	case <-ctx.Done():
		return turn{}, context.Cause(ctx)
	case <-timer.C:
		return turn{}, session.Errorf(session.CodeLimit,
			"the session is busy with %d requests; let some of them finish and try again", cap(u.requests)).After(time.Second)
	}
}

func (u *upstream) takeStream() (turn, error) {
	select {
	case u.streams <- struct{}{}:
		return turn{u.streams}, nil
	default:
		return turn{}, session.Errorf(session.CodeLimit,
			"the session has %d event streams and terminals open; close some of them and try again", cap(u.streams)).After(time.Second)
	}
}
