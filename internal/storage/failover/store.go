package failover

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// do calls the store that works. A primary that is away is left for the local store, which is then called instead.
func (s *Store) do(ctx context.Context, onPrimary func() error, onLocal func(Local) error) error {
	for {
		s.mu.RLock()
		if s.pending != nil {
			err := onLocal(s.pending)
			s.mu.RUnlock()
			return err
		}
		err := onPrimary()
		s.mu.RUnlock()
		if session.CodeOf(err) != session.CodeStoreUnavailable || ctx.Err() != nil || !s.failOver(ctx, err) {
			return err
		}
	}
}

// Create adds a session. A create of which the primary said nothing, and which is made here, is one and the same when it
// flows back.
func (s *Store) Create(ctx context.Context, v session.Session, max int) (made session.Session, err error) {
	err = s.do(ctx, func() (err error) {
		if made, err = s.primary.Create(ctx, v, max); err == nil {
			s.known.put(made)
		}
		return err
	}, func(l Local) (err error) {
		defer s.edits.Add(1)
		made, err = l.Create(ctx, v, max)
		return err
	})
	return made, err
}

// Get returns a session.
func (s *Store) Get(ctx context.Context, id session.ID) (found session.Session, err error) {
	err = s.do(ctx, func() (err error) {
		mark := s.known.mark()
		found, err = s.primary.Get(ctx, id)
		switch session.CodeOf(err) {
		case "":
			s.known.got(mark, found)
		case session.CodeNotFound:
			s.known.missed(mark, id)
		}
		return err
	}, func(l Local) (err error) { found, err = l.Get(ctx, id); return err })
	return found, err
}

// Update replaces a session.
func (s *Store) Update(ctx context.Context, v session.Session, max int) (updated session.Session, err error) {
	err = s.do(ctx, func() (err error) {
		if updated, err = s.primary.Update(ctx, v, max); err == nil {
			s.known.put(updated)
		}
		return err
	}, func(l Local) (err error) {
		defer s.edits.Add(1)
		updated, err = l.Update(ctx, v, max)
		return err
	})
	return updated, err
}

// Delete removes a session.
func (s *Store) Delete(ctx context.Context, id session.ID, revision int64) error {
	return s.do(ctx, func() error {
		err := s.primary.Delete(ctx, id, revision)
		if err == nil {
			s.known.remove(id)
		}
		return err
	}, func(l Local) error {
		defer s.edits.Add(1)
		return l.Delete(ctx, id, revision)
	})
}

// List returns one page.
func (s *Store) List(ctx context.Context, q session.Query) (page session.Page, err error) {
	err = s.do(ctx, func() (err error) {
		mark := s.known.mark()
		page, err = s.primary.List(ctx, q)
		if err == nil && q.Owner == "" && len(q.Statuses) == 0 && q.TokenAt.IsZero() && q.After == "" && q.Limit == 0 {
			s.known.listed(mark, page.Sessions)
		}
		return err
	}, func(l Local) (err error) { page, err = l.List(ctx, q); return err })
	return page, err
}

// Count counts the sessions of the store that works.
func (s *Store) Count(ctx context.Context, at time.Time) (counts record.Counts, err error) {
	err = s.do(ctx, func() (err error) {
		counts, err = record.CountSessions(ctx, s.primary, at)
		return err
	}, func(l Local) (err error) {
		counts, err = record.CountSessions(ctx, l, at)
		return err
	})
	return counts, err
}

// Touch notes activity.
func (s *Store) Touch(ctx context.Context, at map[session.ID]time.Time) error {
	return s.do(ctx, func() error {
		err := s.primary.Touch(ctx, at)
		if err == nil {
			s.known.touch(at)
		}
		return err
	}, func(l Local) error { return l.Touch(ctx, at) })
}

// Ping answers for the store that works.
func (s *Store) Ping(ctx context.Context) error {
	return s.do(ctx, func() error { return s.primary.Ping(ctx) }, func(l Local) error { return l.Ping(ctx) })
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
