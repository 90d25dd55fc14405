package storage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"berth/internal/lifecycle"
)

// holdName is the file, and the setting of a database, with the hold: containers without a record that were created before
// the time in it are kept.
const holdName = "orphans-held"

// holdFormat is a time format in which texts are ordered like times.
const holdFormat = "2006-01-02T15:04:05.000000Z"

// orphanHold keeps the hold together with the sessions, so that it is lost only with them, and is then set again.
type orphanHold struct {
	read  func(context.Context) (string, error)
	write func(context.Context, string) error // "" removes the hold
	lost  func() time.Time                    // when the database was last found to be rolled back; nil: never

	mu   sync.Mutex
	kept time.Time // the last of those times that a hold was set for; guarded by mu
}

var _ lifecycle.OrphanHold = (*orphanHold)(nil)

func (f file) hold() *orphanHold {
	return &orphanHold{
		read:  func(context.Context) (string, error) { return f.dir.peek(holdName) },
		write: func(_ context.Context, text string) error { return f.dir.put(holdName, text) },
	}
}

func (db *database) hold() *orphanHold {
	return &orphanHold{
		read:  func(ctx context.Context) (string, error) { return db.Setting(ctx, holdName) },
		write: func(ctx context.Context, text string) error { return db.SetSetting(ctx, holdName, text) },
		lost:  db.RolledBack,
	}
}

func (h *orphanHold) Before(ctx context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost != nil {
		if at := h.lost(); at.After(h.kept) {
			if err := h.set(ctx, at); err != nil {
				return time.Time{}, err
			}
			h.kept = at
		}
	}
	return h.before(ctx)
}

func (h *orphanHold) before(ctx context.Context) (time.Time, error) {
	text, err := h.read(ctx)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	before, err := time.Parse(holdFormat, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("the hold on containers without a session: %w", err)
	}
	return before, nil
}

func (h *orphanHold) Set(ctx context.Context, before time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set(ctx, before)
}

func (h *orphanHold) set(ctx context.Context, before time.Time) error {
	if now, err := h.before(ctx); err != nil || !before.After(now) {
		return err
	}
	return h.write(ctx, before.UTC().Format(holdFormat))
}

// end removes the hold.
func (h *orphanHold) end(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.write(ctx, "")
}
