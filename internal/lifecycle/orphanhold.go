package lifecycle

import (
	"context"
	"sync"
	"time"
)

// OrphanHold remembers, with the sessions, which containers without a record must not be removed: those that were there
// before the sessions were. It outlives the process, and all processes on a store share it.
type OrphanHold interface {
	// Set keeps the containers that were made before that time. A hold that reaches further stays.
	Set(ctx context.Context, before time.Time) error
	// Before returns what was set; zero: nothing.
	Before(ctx context.Context) (time.Time, error)
}

// heldInMemory is the hold of a Manager that was given none: it ends with the process.
type heldInMemory struct {
	mu     sync.Mutex
	before time.Time
}

func (h *heldInMemory) Set(_ context.Context, before time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if before.After(h.before) {
		h.before = before
	}
	return nil
}

func (h *heldInMemory) Before(context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.before, nil
}
