package runtimetest

import (
	"context"
	"fmt"
	"slices"
	"syscall"

	"berth/internal/session"
)

// watcher is one Watch in progress. Its queue has no bound: a test that does not read is short.
type watcher struct {
	queue  []session.RuntimeEvent // guarded by Fake.mu
	wake   chan struct{}
	broken chan struct{}
}

// Watch implements session.Runtime.
func (f *Fake) Watch(ctx context.Context, ready func(), fn func(session.RuntimeEvent)) error {
	w := &watcher{wake: make(chan struct{}, 1), broken: make(chan struct{})}
	if err := f.call(ctx, OpWatch, "", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.watchers[w] = struct{}{}
		return nil
	}); err != nil {
		return err
	}
	defer func() {
		f.mu.Lock()
		delete(f.watchers, w)
		f.mu.Unlock()
	}()
	if ready != nil {
		ready()
	}
	f.watching.Add(1)
	defer f.watching.Add(-1)
	for {
		f.mu.Lock()
		events := slices.Clone(w.queue)
		w.queue = nil
		f.mu.Unlock()
		for _, e := range events {
			fn(e)
		}
		select {
		case <-w.wake:
		case <-w.broken:
			return unavailable()
		case <-ctx.Done():
			return fmt.Errorf("watch: %w", context.Cause(ctx))
		}
	}
}

// Watched reports whether there is a Watch whose ready has returned.
func (f *Fake) Watched() bool { return f.watching.Load() > 0 }

// emit notifies every watcher. Call it with the lock held.
func (f *Fake) emit(action session.Action, c *container) {
	if f.dropEvents {
		return
	}
	e := f.event(action, c)
	if action == session.ActionEnded {
		e.ExitCode = c.info.ExitCode
	}
	f.send(e)
}

// emitSignal notifies every watcher that a container was sent a signal. Call it with the lock held.
func (f *Fake) emitSignal(c *container, signal syscall.Signal) {
	e := f.event(session.ActionSignalled, c)
	e.Signal = signal
	f.send(e)
}

func (f *Fake) event(action session.Action, c *container) session.RuntimeEvent {
	return session.RuntimeEvent{Action: action, Container: c.info.ID, Name: c.info.Name, Session: c.info.Session, Time: f.now()}
}

func (f *Fake) send(e session.RuntimeEvent) {
	for w := range f.watchers {
		w.queue = append(w.queue, e)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}
