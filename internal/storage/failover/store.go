package failover

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// do calls the active store. If the primary is unavailable, it fails over and calls the local store instead. observe is called
// with the error of the primary; it may be nil.
func (s *Store) do(ctx context.Context, call func(session.Store) error, observe func(error)) error {
	for {
		s.mu.RLock()
		if s.pending != nil {
			err := call(s.pending)
			s.mu.RUnlock()
			return err
		}
		err := call(s.primary)
		if observe != nil {
			observe(err)
		}
		s.mu.RUnlock()
		if session.CodeOf(err) != session.CodeStoreUnavailable || ctx.Err() != nil || !s.failOver(ctx, err) {
			return err
		}
	}
}

// change is do for a call that changes a session. observe is called after a success of the primary.
func (s *Store) change(ctx context.Context, call func(session.Store) error, observe func()) error {
	return s.do(ctx, func(store session.Store) error {
		defer s.edits.Add(1)
		return call(store)
	}, func(err error) {
		if err == nil {
			observe()
		}
	})
}

// Create adds a session. If the response of the primary was lost and the create is repeated here, the replay recognises it.
func (s *Store) Create(ctx context.Context, v session.Session, max session.Quota) (made session.Session, err error) {
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

// Count counts the sessions of the active store.
func (s *Store) Count(ctx context.Context, at time.Time) (counts record.Counts, err error) {
	err = s.do(ctx, func(store session.Store) (err error) {
		counts, err = record.CountSessions(ctx, store, at)
		return err
	}, nil)
	return counts, err
}

// Touch records activity.
func (s *Store) Touch(ctx context.Context, at map[session.ID]time.Time) error {
	return s.do(ctx, func(store session.Store) error { return store.Touch(ctx, at) }, func(err error) {
		if err == nil {
			s.known.touch(at)
		}
	})
}

// Ping pings the active store.
func (s *Store) Ping(ctx context.Context) error {
	return s.do(ctx, func(store session.Store) error { return store.Ping(ctx) }, nil)
}

// Watch forwards the notifications of the primary. After a replay it calls missed, because every session may have changed.
func (s *Store) Watch(ctx context.Context, missed func(), changed func(session.ID)) error {
	type event struct {
		id     session.ID
		missed bool
	}
	events := make(chan event)
	send := func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_ = s.primary.Watch(ctx, func() { send(event{missed: true}) }, func(id session.ID) { send(event{id: id}) })
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
		case <-s.resync:
			missed()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
