package lifecycle

import (
	"context"
	"sync"

	"berth/internal/session"
)

// worklist is a queue of sessions; one that is added twice is handled once.
type worklist struct {
	mu    sync.Mutex
	ids   map[session.ID]struct{}
	ready chan struct{} // holds one token while there may be something
}

func newWorklist() *worklist {
	return &worklist{ids: map[session.ID]struct{}{}, ready: make(chan struct{}, 1)}
}

// each sees to every session that comes, so many at once, until ctx ends.
func (w *worklist) each(ctx context.Context, workers int, see func(session.ID)) {
	var all sync.WaitGroup
	defer all.Wait()
	for range workers {
		all.Go(func() {
			for {
				id, ok := w.next(ctx)
				if !ok {
					return
				}
				see(id)
			}
		})
	}
}

// add never waits.
func (w *worklist) add(id session.ID) {
	w.mu.Lock()
	w.ids[id] = struct{}{}
	w.mu.Unlock()
	w.signal()
}

func (w *worklist) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// next waits for a session and takes it out. It reports false when ctx has ended.
func (w *worklist) next(ctx context.Context) (session.ID, bool) {
	for {
		select {
		case <-w.ready:
		case <-ctx.Done():
			return "", false
		}
		w.mu.Lock()
		for id := range w.ids {
			delete(w.ids, id)
			more := len(w.ids) > 0
			w.mu.Unlock()
			if more {
				w.signal()
			}
			return id, true
		}
		w.mu.Unlock()
	}
}

// signal holds a token when something is to be done at once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

// raise never waits.
func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}
