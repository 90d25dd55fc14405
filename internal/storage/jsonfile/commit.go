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
	grows          // a new session, or one that begins to occupy a slot: not written from the reserve
	frees          // a change that uses no additional resources: written even when the disk is full
)

// change is the change of one call. Changes are written in batches.
type change struct {
	// apply makes the change in the draft; on an error the draft must be unchanged.
	apply func(*draft) (effect, error)

	did  effect
	err  error         // why the change was not made; valid after done
	done chan struct{} // closed when the change is durable or has failed
}

// draft is the next version of the file.
type draft struct {
	image
	touched map[session.ID]time.Time // activity that is not in the entries yet
}

// submit waits until the change is durable or has failed. When ctx is done before, a queued change is withdrawn; the end of
// one that is being written is waited for, because its result is not known before.
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

// write writes batches until there are no changes: during a write, the next batch is collected. Activity alone goes to its
// log, until that has reached its limit.
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
		} else if replaced := s.commit(batch); !replaced && closing {
			s.note() // the disk may have space for that
		}
		for _, done := range flushes {
			close(done)
		}
	}
}

// commit writes the file with these changes and with all activity, and completes the calls. It reports whether the file was
// replaced. When the disk is full, it writes only the changes that free resources, with space of the reserve.
func (s *Store) commit(batch []*change) (replaced bool) {
	next, waiting := s.draft()
	needed := next.make(batch)
	if next.applyActivity() && len(batch) == 0 {
		needed = true
	}
	if !needed {
		s.finish(batch, nil)
		return false
	}
	content := next.encode()
	replaced, err := s.disk.replace(content)
	if rest := freeing(batch); isFull(err) && !replaced && len(rest) > 0 {
		s.failOthers(batch, err)
		batch = rest
		next, waiting = s.draft()
		next.make(batch)
		next.applyActivity()
		content = next.encode()
		for isFull(err) && !replaced && s.reserve.give(int64(len(content))) {
			replaced, err = s.disk.replace(content)
		}
	}
	s.mu.Lock()
	if replaced {
		s.stored, s.size = next.image, int64(len(content))
		s.forget(waiting)
	}
	unreported := err != nil && s.writeErr == nil && len(batch) == 0
	s.writeErr = err
	s.mu.Unlock()
	if replaced && err == nil {
		s.activity.clear()
		s.reserve.keep(s.size)
	}
	if unreported { // there is no call that returns it
		s.logger.WarnContext(context.Background(), "activity not written, retrying every second", "error", err)
	}
	s.finish(batch, err)
	return replaced
}

// draft starts the next version of the file, with the activity that it will contain.
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

// failOthers fails the changes that are not written from the reserve.
func (s *Store) failOthers(batch []*change, err error) {
	for _, c := range batch {
		if c.did != frees {
			c.err = unwritten(err)
			close(c.done)
		}
	}
}

// finish completes the calls.
func (s *Store) finish(batch []*change, err error) {
	s.mu.Lock()
	s.flushLater()
	s.mu.Unlock()
	for _, c := range batch {
		if err != nil { // also for a rejected change: the reason may be another change that was not made
			c.err = unwritten(err)
		}
		close(c.done)
	}
}

// applyActivity merges pending activity into the entries. It reports whether there was any.
func (d *draft) applyActivity() bool {
	applied := false
	for id, at := range d.touched {
		e, ok := d.sessions[id]
		if !ok || !at.After(e.session.LastAccessed) {
			continue
		}
		if touched, err := seal(e.at(at), e.extra); err == nil { // it was sealed before with another time
			d.sessions[id] = touched
			applied = true
		}
	}
	return applied
}

// unwritten is the error for callers of a failed write.
func unwritten(err error) error {
	if isFull(err) {
		return session.Errorf(session.CodeStoreUnavailable,
			"the disk that holds the session store is full; free some space and try again").Because(err)
	}
	return session.Errorf(session.CodeStoreUnavailable,
		"the session store could not be written; try again, and see the log").Because(err)
}

// ended returns an error if ctx is done.
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
