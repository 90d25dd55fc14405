package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// watchFeed follows what other processes do to sessions until ctx ends.
func (m *Manager) watchFeed(ctx context.Context) {
	if m.opts.Feed == nil {
		<-ctx.Done()
		return
	}
	behind := make(chan struct{}, 1)
	fallBehind := func() {
		select {
		case behind <- struct{}{}:
		default:
		}
	}
	var catchingUp sync.WaitGroup
	defer catchingUp.Wait()
	catchingUp.Go(func() { m.catchUp(ctx, behind) })
	_ = m.opts.Feed.Watch(ctx, func() {
		if err := m.refresh(ctx); err != nil && ctx.Err() == nil {
			m.opts.Logger.WarnContext(ctx, "sessions not read again; trying again", "error", err)
			fallBehind()
		}
	}, func(id session.ID) {
		if err := m.follow(ctx, id); err != nil && ctx.Err() == nil {
			m.opts.Logger.WarnContext(ctx, "a change of another process was not followed; trying again", "session_id", id, "error", err)
			fallBehind()
		}
	}) // ctx has ended
}

// Waits between two attempts to read what could not be read when it changed.
const (
	firstCatchUp = 500 * time.Millisecond
	lastCatchUp  = 4 * time.Second
)

// catchUp reads every session again after a change that could not be read: it is not told of twice, and it may be a token
// that was replaced.
func (m *Manager) catchUp(ctx context.Context, behind <-chan struct{}) {
	for {
		select {
		case <-behind:
		case <-ctx.Done():
			return
		}
		for wait := firstCatchUp; ; wait = min(2*wait, lastCatchUp) {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			if m.refresh(ctx) == nil {
				break
			}
		}
	}
}

// refresh brings the routes up to date with every record. It asks the store only: what has to be looked for on the
// engine is left to [Manager.locateAll].
func (m *Manager) refresh(ctx context.Context) error {
	mark := m.published.mark()
	page, err := m.store.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	listed := make(map[session.ID]bool, len(page.Sessions))
	for _, s := range page.Sessions {
		listed[s.ID] = true
		m.followRecord(mark, s)
	}
	return m.dismiss(ctx, listed)
}

// dismiss forgets the published sessions that are not listed and, when asked for by name, not there.
func (m *Manager) dismiss(ctx context.Context, listed map[session.ID]bool) error {
	for _, id := range m.publishedIDs() {
		if listed[id] {
			continue
		}
		if err := m.follow(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// follow brings one session's route up to date with its record.
func (m *Manager) follow(ctx context.Context, id session.ID) error {
	mark := m.published.mark()
	s, err := m.store.Get(ctx, id)
	if session.CodeOf(err) == session.CodeNotFound {
		m.yield(id, session.Session{})
		if !m.isWorking(id) { // else the work unpublishes when it is done
			m.unpublish(id)
		}
		return nil
	} else if err != nil {
		return err
	}
	m.followRecord(mark, s)
	return nil
}

// followRecord publishes a record that may be another process's. A token is exchanged at once; an address that is not
// known comes after a look at the engine. The mark was taken before the store was asked.
func (m *Manager) followRecord(mark uint64, s session.Session) {
	m.yield(s.ID, s)
	if m.isTwin(s) {
		m.unlocated.add(s.ID)
	}
	if m.isWorking(s.ID) {
		m.publishSince(mark, s) // its token may have been exchanged; where it is the work knows
		return
	}
	if m.publishFollowed(mark, s) {
		m.unlocated.add(s.ID)
	}
}

// yield ends this process's work on a session whose record says that it is no longer ours: another process has taken
// the operation over, or has done what it was meant to do. A zero Session is one that is gone. It reports whether there was such
// work.
func (m *Manager) yield(id session.ID, s session.Session) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.working[id]
	if w == nil || w.cancel == nil || w.kind == session.OpDelete && s.ID == "" {
		return false
	}
	newer := s.ID == "" || w.begun.Revision < s.Revision || w.begun.CreatedAt.Before(s.CreatedAt)
	if !newer || s.Operation.Same(w.begun.Operation) || w.concluding {
		return false
	}
	w.cancel(errTakenOver)
	return true
}

// holds returns nil while the operation recorded with s is still the one that is to be done to the session, errTakenOver
// when it is not, and the store's error when that cannot be known. It comes before everything that cannot be undone.
func (m *Manager) holds(ctx context.Context, s session.Session) error {
	now, err := m.store.Get(ctx, s.ID)
	switch {
	case session.CodeOf(err) == session.CodeNotFound:
		return errTakenOver
	case err != nil:
		return err
	case !now.IsSame(s):
		return errTakenOver
	}
	return nil
}

// locators is how many sessions are looked for at once.
const locators = 4

// locateAll looks for the servers of sessions that other processes have started or moved, until ctx ends.
func (m *Manager) locateAll(ctx context.Context) {
	m.unlocated.each(ctx, locators, func(id session.ID) {
		ctx := m.opts.Background(ctx)
		if err := m.findServer(ctx, id); err != nil && ctx.Err() == nil {
			m.opts.Logger.WarnContext(ctx, "server of a session not found; the next reconciliation looks again",
				"session_id", id, "error", err)
		}
	})
}

// findServer looks on the engine for where a session's server is, and publishes that.
func (m *Manager) findServer(ctx context.Context, id session.ID) error {
	s, err := m.store.Get(ctx, id)
	if err == nil && m.isTwin(s) {
		err = m.giveWayInPlace(ctx, id)
	}
	if err != nil || s.Status != session.Running || m.isWorking(id) {
		return ignoreNotFound(err)
	}
	c, err := m.runtime.Inspect(ctx, s.ContainerName)
	if err != nil {
		return ignoreNotFound(err)
	}
	if c.State == session.StateRunning && !m.isWorking(id) {
		m.publishAt(s, c.Address)
	}
	return nil
}

func ignoreNotFound(err error) error {
	if session.CodeOf(err) == session.CodeNotFound {
		return nil
	}
	return err
}

// queue holds sessions until somebody sees to them; one that is added twice is seen to once.
type queue struct {
	mu   sync.Mutex
	ids  map[session.ID]struct{}
	wake chan struct{} // holds one token while there may be something
}

func newQueue() queue { return queue{ids: map[session.ID]struct{}{}, wake: make(chan struct{}, 1)} }

// each sees to every session that comes, so many at once, until ctx ends.
func (q *queue) each(ctx context.Context, workers int, see func(session.ID)) {
	var all sync.WaitGroup
	defer all.Wait()
	for range workers {
		all.Go(func() {
			for {
				id, ok := q.next(ctx)
				if !ok {
					return
				}
				see(id)
			}
		})
	}
}

// add never waits.
func (q *queue) add(id session.ID) {
	q.mu.Lock()
	q.ids[id] = struct{}{}
	q.mu.Unlock()
	q.ring()
}

func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a session and takes it out. It reports false when ctx has ended.
func (q *queue) next(ctx context.Context) (session.ID, bool) {
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return "", false
		}
		q.mu.Lock()
		for id := range q.ids {
			delete(q.ids, id)
			more := len(q.ids) > 0
			q.mu.Unlock()
			if more {
				q.ring()
			}
			return id, true
		}
		q.mu.Unlock()
	}
}
