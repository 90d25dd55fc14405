package lifecycle

import (
	"sync"
	"time"

	"berth/internal/session"
)

// retries remembers the stops and deletes that failed and are tried again until they succeed. The records say which
// they are: an operation without an owner. How often one has failed, and when it is its turn again, is known to the
// process that tried it; another one tries at once.
type retries struct {
	mu sync.Mutex
	of map[session.ID]retry
}

type retry struct {
	kind     session.Kind
	failures int       // in a row
	since    time.Time // of the first of them
	next     time.Time // before it nothing is tried
	engine   bool      // the engine could not be reached; its return is reason to try at once
}

const (
	firstRetryDelay = 10 * time.Second
	lastRetryDelay  = 10 * time.Minute
)

// retryDelay is how long to wait after the n-th failure in a row.
func retryDelay(n int) time.Duration {
	return min(firstRetryDelay<<min(n-1, 10), lastRetryDelay)
}

// add notes that an operation has failed and returns when it is tried again.
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

// clear forgets the failures of a session and returns them.
func (r *retries) clear(id session.ID) retry {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.of[id]
	delete(r.of, id)
	return was
}

// due reports whether a failed operation may be tried again. The clock may have been set back: a delay that is longer
// than any is over.
func (r *retries) due(id session.ID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := r.of[id].next.Sub(now)
	return wait <= 0 || wait > lastRetryDelay
}

// engineReturned makes due what failed because the engine could not be reached.
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
