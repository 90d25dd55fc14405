package lifecycle

import (
	"maps"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// What another process was asked to do may be recorded where this one cannot read it: either has lost the shared store.
// Then a container that was ended or removed through the engine's API, or one that runs although its session is stopped,
// looks like an accident and may be somebody's wish. Such a session is left as it is until everybody has been heard.

// waiting is the sessions that are left alone until other processes are known again, and since when. With its lock held no other one is taken.
type deferredSessions struct {
	mu    sync.Mutex
	since map[session.ID]time.Time
}

// of returns since when a session waits; now, if it does not.
func (w *deferredSessions) of(id session.ID) (noticed time.Time, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if noticed, is = w.since[id]; !is {
		noticed = time.Now()
	}
	return noticed, is
}

// isLeft reports whether a session is left alone.
func (w *deferredSessions) contains(id session.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, left := w.since[id]
	return left
}

// leave leaves a session alone.
func (w *deferredSessions) add(id session.ID, noticed time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since[id] = noticed
}

// forget says that a session's container runs, or that the record says why it does not.
func (w *deferredSessions) remove(id session.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, id)
}

// heard reports whether a session is left alone for a reason that has ended.
func (w *deferredSessions) anyReady(peers Peers) bool {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.since))
	w.mu.Unlock()
	return slices.ContainsFunc(all, func(noticed time.Time) bool { return !peers.Unreachable(noticed) })
}
