package lifecycle

import (
	"maps"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// When a process is disconnected from the shared store, requests to it are recorded where other processes cannot read them. A
// container that was stopped or removed through the engine's API, or one that runs although its session is stopped, may then be
// the result of such a request. Such sessions are deferred until every other process is reachable again.

// deferredSessions records which sessions are deferred until the other processes are reachable, and since when. While its mutex is
// held no other one is taken.
type deferredSessions struct {
	mu    sync.Mutex
	since map[session.ID]time.Time
}

// of returns since when a session is deferred; now, if it is not.
func (w *deferredSessions) of(id session.ID) (noticed time.Time, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if noticed, is = w.since[id]; !is {
		noticed = time.Now()
	}
	return noticed, is
}

// contains reports whether a session is deferred.
func (w *deferredSessions) contains(id session.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, left := w.since[id]
	return left
}

// add defers a session.
func (w *deferredSessions) add(id session.ID, noticed time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since[id] = noticed
}

// remove ends the deferral: the session's container runs, or the cause of its exit is recorded.
func (w *deferredSessions) remove(id session.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, id)
}

// anyReady reports whether a session is deferred for a reason that has ended.
func (w *deferredSessions) anyReady(peers Peers) bool {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.since))
	w.mu.Unlock()
	return slices.ContainsFunc(all, func(noticed time.Time) bool { return !peers.Unreachable(noticed) })
}
