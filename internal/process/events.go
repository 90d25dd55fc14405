package process

import (
	"context"
	"fmt"
	"sync"
	"time"

	"berth/internal/session"
)

// backlog is how many events a watcher may be behind before its stream breaks.
const backlog = 256

// hub sends events to all watchers. The zero value is ready for use.
type hub struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

type watcher struct {
	events chan session.RuntimeEvent
	behind chan struct{} // closed when its buffer was full
}

func (h *hub) add() *watcher {
	w := &watcher{events: make(chan session.RuntimeEvent, backlog), behind: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.watchers = map[*watcher]struct{}{}
	}
	h.watchers[w] = struct{}{}
	return w
}

func (h *hub) remove(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// emit sends an event to every watcher, and never blocks.
func (h *hub) emit(c *container, action session.Action, code int) {
	e := session.RuntimeEvent{
		Action: action, Container: c.id, Name: c.name, Session: c.record.Session, ExitCode: code, Time: time.Now().UTC(),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w.events <- e:
		default:
			close(w.behind)
			delete(h.watchers, w)
		}
	}
}

// Watch implements session.Runtime.
func (r *Runtime) Watch(ctx context.Context, ready func(), f func(session.RuntimeEvent)) error {
	if err := r.enter(ctx, "watch"); err != nil {
		return err
	}
	w := r.events.add()
	defer r.events.remove(w)
	if ready != nil {
		ready()
	}
	for {
		select {
		case e := <-w.events:
			f(e)
		case <-w.behind:
			return fmt.Errorf("watch: more than %d events were waiting", backlog)
		case <-r.closing:
			return errClosed()
		case <-ctx.Done():
			return fmt.Errorf("watch: %w", context.Cause(ctx))
		}
	}
}
