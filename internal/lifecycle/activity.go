package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// activity collects the sessions that were used, so that the store is called at most once a second for any number of requests.
type activity struct {
	store session.Store
	opts  Options

	mu   sync.Mutex
	seen map[session.ID]time.Time
}

// flushEvery is also the most activity that a crash loses.
const flushEvery = time.Second

// touch notes that the session was used just now. It is cheap and never waits.
func (a *activity) touch(id session.ID) {
	now := a.opts.now()
	a.mu.Lock()
	a.seen[id] = now
	a.mu.Unlock()
}

// flush writes the collected activity. What cannot be written is kept for the next flush.
func (a *activity) flush(ctx context.Context) error {
	a.mu.Lock()
	seen := a.seen
	a.seen = map[session.ID]time.Time{}
	a.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	err := a.store.Touch(ctx, seen)
	if err == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range seen {
		if at.After(a.seen[id]) {
			a.seen[id] = at
		}
	}
	return err
}
