package lifecycle

import (
	"sync"
	"time"

	"berth/internal/session"
)

// holder returns which process runs the recorded operation. The caller holds the session's lock, so that a recorded operation of
// this process has ended without recording its outcome.
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

// foreignOperations tracks the operations of other processes that are alive, and since when this process has seen them. Recorded
// deadlines of other processes are not used, because the clocks of machines differ.
type foreignOperations struct {
	mu   sync.Mutex
	seen map[session.ID]foreignOperation
}

type foreignOperation struct {
	op    session.Operation
	since time.Time // with a monotonic reading
}

// isOverdue reports whether the operation recorded with s has been seen for longer than the time allowed.
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

// keep removes the entries that are not in the list.
func (o *foreignOperations) keep(listed map[session.ID]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.seen {
		if !listed[id] {
			delete(o.seen, id)
		}
	}
}
