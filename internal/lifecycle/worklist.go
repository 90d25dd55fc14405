package lifecycle

import (
	"context"
	"sync"

	"berth/internal/session"
)

// worklist is a queue of sessions without duplicates.
type worklist struct {
	mu    sync.Mutex
	ids   map[session.ID]struct{}
	ready chan struct{} // holds one token while the list may not be empty
}

func newWorklist() *worklist {
	return &worklist{ids: map[session.ID]struct{}{}, ready: make(chan struct{}, 1)}
}

// each calls handle for every session in the queue, with this number of workers, until ctx ends.
func (w *worklist) each(ctx context.Context, workers int, handle func(session.ID)) {
	var all sync.WaitGroup
	defer all.Wait()
	for range workers {
		all.Go(func() {
			for {
				id, ok := w.next(ctx)
				if !ok {
					return
				}
				handle(id)
			}
		})
	}
}

// add never blocks.
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

// next waits for a session and removes it from the queue. It reports false when ctx has ended.
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

// signal holds a token after raise, until it is received.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

// raise never blocks.
func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}
