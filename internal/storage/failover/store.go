package failover

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// do calls the store that works. A primary that is unavailable is left for the local store, which is then called instead.
// learn gets what the primary has answered; nil: nothing is learned from that.
func (s *Store) do(ctx context.Context, call func(session.Store) error, learn func(error)) error {
	for {
		s.mu.RLock()
		if s.pending != nil {
			err := call(s.pending)
			s.mu.RUnlock()
			return err
		}
		err := call(s.primary)
		if learn != nil {
			learn(err)
		}
		s.mu.RUnlock()
		if session.CodeOf(err) != session.CodeStoreUnavailable || ctx.Err() != nil || !s.failOver(ctx, err) {
			return err
		}
	}
}

// change is do for a call that changes a session. learn is called when the primary has done it.
func (s *Store) change(ctx context.Context, call func(session.Store) error, learn func()) error {
	return s.do(ctx, func(store session.Store) error {
		defer s.edits.Add(1)
		return call(store)
	}, func(err error) {
		if err == nil {
			learn()
		}
	})
}

// Create adds a session. A create that the primary has not answered, and that is made here, is the same one when it flows
// back.
func (s *Store) Create(ctx context.Context, v session.Session, max int) (made session.Session, err error) {
	err = s.change(ctx, func(store session.Store) (err error) {
		made, err = store.Create(ctx, v, max)
		return err
	}, func() { s.known.put(made) })
	return made, err
}

// Get returns a session.
func (s *Store) Get(ctx context.Context, id session.ID) (found session.Session, err error) {
	mark := s.known.mark()
	err = s.do(ctx, func(store session.Store) (err error) {
		found, err = store.Get(ctx, id)
		return err
	}, func(err error) {
		switch session.CodeOf(err) {
		case "":
			s.known.got(mark, found)
		case session.CodeNotFound:
			s.known.missed(mark, id)
		}
	})
	return found, err
}

// Update replaces a session.
func (s *Store) Update(ctx context.Context, v session.Session, max int) (updated session.Session, err error) {
	err = s.change(ctx, func(store session.Store) (err error) {
		updated, err = store.Update(ctx, v, max)
		return err
	}, func() { s.known.put(updated) })
	return updated, err
}

// Delete removes a session.
func (s *Store) Delete(ctx context.Context, id session.ID, revision int64) error {
	return s.change(ctx, func(store session.Store) error { return store.Delete(ctx, id, revision) }, func() { s.known.remove(id) })
}

// List returns one page.
func (s *Store) List(ctx context.Context, q session.Query) (page session.Page, err error) {
	mark := s.known.mark()
	err = s.do(ctx, func(store session.Store) (err error) {
		page, err = store.List(ctx, q)
		return err
	}, func(err error) {
		if err == nil && q.Owner == "" && len(q.Statuses) == 0 && q.TokenAt.IsZero() && q.After == "" && q.Limit == 0 {
			s.known.listed(mark, page.Sessions)
		}
	})
	return page, err
}

// Count counts the sessions of the store that works.
func (s *Store) Count(ctx context.Context, at time.Time) (counts record.Counts, err error) {
	err = s.do(ctx, func(store session.Store) (err error) {
		counts, err = record.CountSessions(ctx, store, at)
		return err
	}, nil)
	return counts, err
}

// Touch notes activity.
func (s *Store) Touch(ctx context.Context, at map[session.ID]time.Time) error {
	return s.do(ctx, func(store session.Store) error { return store.Touch(ctx, at) }, func(err error) {
		if err == nil {
			s.known.touch(at)
		}
	})
}

// Ping answers for the store that works.
func (s *Store) Ping(ctx context.Context) error {
	return s.do(ctx, func(store session.Store) error { return store.Ping(ctx) }, nil)
}

// Watch passes on what the primary tells. After a flow back everything may be another, which it tells as well.
func (s *Store) Watch(ctx context.Context, missed func(), changed func(session.ID)) error {
	type event struct {
		id     session.ID
		missed bool
	}
	events := make(chan event)
	tell := func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_ = s.primary.Watch(ctx, func() { tell(event{missed: true}) }, func(id session.ID) { tell(event{id: id}) })
	})
	missed()
	for {
		select {
		case e := <-events:
			if e.missed {
				missed()
			} else {
				changed(e.id)
			}
		case <-s.again:
			missed()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
