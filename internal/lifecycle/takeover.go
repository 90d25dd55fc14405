package lifecycle

import (
	"sync"
	"time"

	"berth/internal/session"
)

// holder says who does the recorded operation. The caller holds the session's lock in this process, so that an operation
// of our own that is recorded has ended and could not say so.
func (q *queue) holder(s session.Session) Holder {
	op := s.Operation
	switch {
	case op == nil:
		return NoOperation
	case op.Pending() && !q.retries.due(s.ID, q.opts.now()):
		return RetryLater
	case op.Pending():
		return RetryNow
	case op.Owner == q.opts.Process || !q.opts.Peers.Alive(op.Owner) || q.foreign.isOverdue(s, q.rules.takeoverAfter(s, q.opts.Handover), q.opts.Now()):
		return Abandoned
	}
	return HeldByOther
}

// foreignOperations remembers the operations of other processes that are alive, and since when this process has seen them. The
// clocks of two machines differ, so that the deadline that another one has written says nothing here.
type foreignOperations struct {
	mu   sync.Mutex
	seen map[session.ID]foreignOperation
}

type foreignOperation struct {
	op    session.Operation
	since time.Time // with a monotonic reading
}

// isOverdue reports whether the operation recorded with s has been seen for longer than it may take.
func (o *foreignOperations) isOverdue(s session.Session, allowance time.Duration, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was, known := o.seen[s.ID]
	if !known || !was.op.Same(s.Operation) {
		was = foreignOperation{*s.Operation, now}
		o.seen[s.ID] = was
	}
	return now.Sub(was.since) > allowance
}

// keep forgets what is not listed.
func (o *foreignOperations) keep(listed map[session.ID]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.seen {
		if !listed[id] {
			delete(o.seen, id)
		}
	}
}
