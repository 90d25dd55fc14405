package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// slots bound the concurrent requests to a session's server: one element for each occupied slot.
type slots chan struct{}

// slot is a slot that a call occupies. The zero value is none. Only the call's handler uses it.
type slot struct{ of slots }

// release frees the slot. Calling it again is allowed.
func (s *slot) release() {
	if s.of != nil {
		<-s.of
		s.of = nil
	}
}

// acquireSlot waits for one of the session's slots for requests. A call that becomes a stream releases it (see
// acquireStreamSlot), so that a hundred open terminals do not stop a request, and a client that opens connections without end
// cannot use up the file descriptors of all sessions.
func (u *upstream) acquireSlot(ctx context.Context, waiting *atomic.Int64) (slot, error) {
	select {
	case u.requests <- struct{}{}:
		return slot{u.requests}, nil
	default:
	}
	waiting.Add(1)
	defer waiting.Add(-1)
	timer := time.NewTimer(u.settings.ConnectTimeout)
	defer timer.Stop()
	select {
	case u.requests <- struct{}{}:
		return slot{u.requests}, nil
	case <-ctx.Done():
		return slot{}, context.Cause(ctx)
	case <-timer.C:
		return slot{}, session.Errorf(session.CodeLimit,
			"the session is busy with %d requests; let some of them finish and try again", cap(u.requests)).After(time.Second)
	}
}

func (u *upstream) acquireStreamSlot() (slot, error) {
	select {
	case u.streams <- struct{}{}:
		return slot{u.streams}, nil
	default:
		return slot{}, session.Errorf(session.CodeLimit,
			"the session has %d event streams and terminals open; close some of them and try again", cap(u.streams)).After(time.Second)
	}
}
