package jsonfile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"syscall"
	"time"

	"berth/internal/session"
)

// change is one caller's wish. Many of them are written together.
type change struct {
	// apply makes the change in the draft. It reports whether it changed anything; an error must leave the draft alone.
	apply func(*draft) (bool, error)

	err  error         // why the change was not made; to be read after done
	done chan struct{} // closed when the change is durable, or will never be
}

// draft is what the file is about to hold.
type draft struct {
	image
	touched map[session.ID]time.Time // activity that is not in the entries yet
}

// submit waits until the change is durable, or is known not to be made. When ctx ends first, a change that nobody has
// begun to write is withdrawn; one that is being written is waited for, because only the disk can say what became of it.
func (s *Store) submit(ctx context.Context, apply func(*draft) (bool, error)) error {
	if err := ended(ctx); err != nil {
		return err
	}
	c := &change{apply: apply, done: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed()
	}
	s.queue = append(s.queue, c)
	s.work()
	s.mu.Unlock()

	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(s.queue, c)
	if i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	s.mu.Unlock()
	if i >= 0 {
		return ended(ctx)
	}
	<-c.done
	return c.err
}

// work starts a writer unless one is running. The caller holds mu.
func (s *Store) work() {
	if !s.writing {
		s.writing = true
		s.writer.Go(s.write)
	}
}

// write makes changes durable until there are none: while one file is being written, the next batch gathers.
func (s *Store) write() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 && !s.due {
			s.writing = false
			s.mu.Unlock()
			return
		}
		batch, due := s.queue, s.due
		s.queue, s.due = nil, false
		waiting := maps.Clone(s.touched)
		next := &draft{
			image:   image{sessions: maps.Clone(s.stored.sessions), extra: s.stored.extra},
			touched: maps.Clone(s.touched),
		}
		s.mu.Unlock()

		needed := false
		for _, c := range batch {
			changed, err := c.apply(next)
			c.err = err
			needed = needed || changed
		}
		if folded := next.fold(); folded && due {
			needed = true
		}
		s.finish(batch, next, waiting, needed)
	}
}

// finish writes the draft if that is needed and tells the callers.
func (s *Store) finish(batch []*change, next *draft, waiting map[session.ID]time.Time, needed bool) {
	landed, err := false, error(nil)
	if needed {
		landed, err = s.disk.replace(next.encode())
	}
	s.mu.Lock()
	if landed {
		s.stored = next.image
		s.forget(waiting)
	}
	alone := err != nil && s.broken == nil && len(batch) == 0
	if needed {
		s.broken = err
	}
	s.flushLater()
	s.mu.Unlock()

	if alone { // nobody is waiting to be told
		s.logger.WarnContext(context.Background(), "activity not written, trying again every second", "error", err)
	}
	for _, c := range batch {
		if err != nil { // also for one that was refused: what it was refused for may be a change that was not made
			c.err = unwritten(err)
		}
		close(c.done)
	}
}

// fold puts waiting activity into the entries. It reports whether there was any.
func (d *draft) fold() bool {
	folded := false
	for id, at := range d.touched {
		e, ok := d.sessions[id]
		if !ok || !at.After(e.session.LastAccessed) {
			continue
		}
		if touched, err := seal(e.at(at), e.extra); err == nil { // it was sealed before with another time
			d.sessions[id] = touched
			folded = true
		}
	}
	return folded
}

// unwritten is what callers are told of a write that was not made.
func unwritten(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return session.Errorf(session.CodeStoreUnavailable,
			"the disk that holds the session store is full; free some space and try again").Because(err)
	}
	return session.Errorf(session.CodeStoreUnavailable,
		"the session store could not be written; try again, and see the log").Because(err)
}

// ended returns an error if ctx has ended.
func ended(ctx context.Context) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return session.Errorf(session.CodeStoreUnavailable, "the session store did not answer in time; nothing was changed").Because(err)
	default:
		return session.Errorf(session.CodeCanceled, "the caller left before the session store answered; nothing was changed").Because(err)
	}
}
