package lifecycle

import (
	"sync"
	"time"

	"berth/internal/session"
)

// retries tracks the stops and deletes that have failed and are retried until they succeed. In the store they are operations
// without an owner. The number of failures and the time of the next attempt are known to the process that made the attempts;
// another process retries at once.
type retries struct {
	mu sync.Mutex
	of map[session.ID]retry
}

type retry struct {
	kind     session.Kind
	failures int       // in a row
	since    time.Time // time of the first failure
	next     time.Time // time of the next attempt
	engine   bool      // the engine was unreachable; the retry is due as soon as it has recovered
}

const (
	firstRetryDelay = 10 * time.Second
	lastRetryDelay  = 10 * time.Minute
)

// retryDelay is how long to wait after the n-th failure in a row.
func retryDelay(n int) time.Duration {
	return min(firstRetryDelay<<min(n-1, 10), lastRetryDelay)
}

// add records that an operation has failed and returns when it is retried.
func (r *retries) add(id session.ID, kind session.Kind, code session.Code, now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.of[id]
	if was.kind != kind {
		was = retry{kind: kind, since: now}
	}
	was.failures++
	was.next, was.engine = now.Add(retryDelay(was.failures)), code == session.CodeEngineUnavailable
	r.of[id] = was
	return was.next
}

// clear removes and returns the failures of a session.
func (r *retries) clear(id session.ID) retry {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.of[id]
	delete(r.of, id)
	return was
}

// due reports whether a failed operation may be retried. A remaining delay above the maximum counts as over, because the clock was
// set back.
func (r *retries) due(id session.ID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := r.of[id].next.Sub(now)
	return wait <= 0 || wait > lastRetryDelay
}

// engineReturned makes the operations due that failed because the engine was unreachable.
func (r *retries) engineReturned() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, was := range r.of {
		if was.engine {
			was.next = time.Time{}
			r.of[id] = was
		}
	}
}
