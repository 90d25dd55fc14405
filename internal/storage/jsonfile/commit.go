package jsonfile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"berth/internal/session"
)

// effect is what a change does to the store.
type effect int

const (
	nothing effect = iota
	grows          // a new session, or one that begins to occupy: not written from the reserve
	frees          // a change after which no more resources are used than before: written even when the disk is full
)

// change is one caller's wish. Many of them are written together.
type change struct {
	// apply makes the change in the draft; an error must leave the draft alone.
	apply func(*draft) (effect, error)

	did  effect
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
func (s *Store) submit(ctx context.Context, apply func(*draft) (effect, error)) error {
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

// write makes changes durable until there are none: while one file is being written, the next batch gathers. Activity
// alone goes into its log, until that is long enough.
func (s *Store) write() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 && !s.due {
			s.writing = false
			s.mu.Unlock()
			return
		}
		batch, flushes, closing := s.queue, s.flushes, s.closed
		s.queue, s.flushes, s.due = nil, nil, false
		s.mu.Unlock()

		if len(batch) == 0 && !closing && s.note() {
			s.reserve.keep(s.size)
			s.finish(nil, nil)
		} else if landed := s.commit(batch); !landed && closing {
			s.note() // the disk may have room for that
		}
		for _, done := range flushes {
			close(done)
		}
	}
}

// commit writes the file with these changes and with all activity, and tells the callers. It reports whether the file has
// become another one. When the disk is full, it writes from the reserve what frees resources, and nothing else.
func (s *Store) commit(batch []*change) (landed bool) {
	next, waiting := s.draft()
	needed := next.make(batch)
	if next.fold() && len(batch) == 0 {
		needed = true
	}
	if !needed {
		s.finish(batch, nil)
		return false
	}
	content := next.encode()
	landed, err := s.disk.replace(content)
	if rest := freeing(batch); isFull(err) && !landed && len(rest) > 0 {
		s.abandon(batch, err)
		batch = rest
		next, waiting = s.draft()
		next.make(batch)
		next.fold()
		content = next.encode()
		for isFull(err) && !landed && s.reserve.give(int64(len(content))) {
			landed, err = s.disk.replace(content)
		}
	}
	s.mu.Lock()
	if landed {
		s.stored, s.size = next.image, int64(len(content))
		s.forget(waiting)
	}
	alone := err != nil && s.broken == nil && len(batch) == 0
	s.broken = err
	s.mu.Unlock()
	if landed && err == nil {
		s.activity.clear()
		s.reserve.keep(s.size)
	}
	if alone { // nobody is waiting to be told
		s.logger.WarnContext(context.Background(), "activity not written, trying again every second", "error", err)
	}
	s.finish(batch, err)
	return landed
}

// draft begins the next version of the file, with the activity that it will hold.
func (s *Store) draft() (next *draft, waiting map[session.ID]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &draft{
		image:   image{sessions: maps.Clone(s.stored.sessions), extra: s.stored.extra, retired: s.stored.retired},
		touched: maps.Clone(s.touched),
	}, maps.Clone(s.touched)
}

// make applies changes. It reports whether one of them changed anything.
func (d *draft) make(batch []*change) bool {
	changed := false
	for _, c := range batch {
		c.did, c.err = c.apply(d)
		changed = changed || c.did != nothing
	}
	return changed
}

// freeing returns the changes that may be written when the disk is full.
func freeing(batch []*change) []*change {
	return slices.DeleteFunc(slices.Clone(batch), func(c *change) bool { return c.did != frees })
}

// abandon tells those whose change is not written from the reserve.
func (s *Store) abandon(batch []*change, err error) {
	for _, c := range batch {
		if c.did != frees {
			c.err = unwritten(err)
			close(c.done)
		}
	}
}

// finish tells the callers.
func (s *Store) finish(batch []*change, err error) {
	s.mu.Lock()
	s.flushLater()
	s.mu.Unlock()
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
	if isFull(err) {
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
