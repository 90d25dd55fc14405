package lifecycle

import (
	"sync"

	"berth/internal/session"
)

// subscribers holds the listeners for changes of sessions.
type subscribers struct {
	mu        sync.Mutex
	listeners map[session.ID]map[chan struct{}]struct{}
}

// notify notifies the listeners of a session.
func (a *subscribers) notify(id session.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range a.listeners[id] {
		select {
		case l <- struct{}{}:
		default: // the previous notification has not been received yet
		}
	}
}

// listen returns a channel that holds a token whenever the session may have changed, until stop is called.
func (a *subscribers) listen(id session.ID) (changed <-chan struct{}, stop func()) {
	l := make(chan struct{}, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listeners[id] == nil {
		a.listeners[id] = map[chan struct{}]struct{}{}
	}
	a.listeners[id][l] = struct{}{}
	return l, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if delete(a.listeners[id], l); len(a.listeners[id]) == 0 {
			delete(a.listeners, id)
		}
	}
}
