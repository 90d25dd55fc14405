package lifecycle

import (
	"context"
	"sync"
	"time"
)

// OrphanHold records, in the store, which containers without a record must not be removed: those created before a given time. It
// survives a restart, and all processes on a store share it.
type OrphanHold interface {
	// Set keeps the containers that were created before that time. A later time that was set before stays in effect.
	Set(ctx context.Context, before time.Time) error
	// Before returns the time that was set; zero: none.
	Before(ctx context.Context) (time.Time, error)
}

// heldInMemory is the default OrphanHold. It is lost when the process ends.
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
