package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// follower applies the changes of other processes to the routes, and inspects containers for addresses that have changed.
type follower struct {
	store      session.Store
	runtime    session.Runtime
	opts       Options
	reports    *reporter
	routes     *publisher
	locks      *sessionLocks
	duplicates *duplicates
	unlocated  *worklist // sessions of which another process has changed the address
}

// watchFeed applies the changes of other processes until ctx ends.
func (f *follower) watchFeed(ctx context.Context) {
	if f.opts.Feed == nil {
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
	catchingUp.Go(func() { f.catchUp(ctx, behind) })
	_ = f.opts.Feed.Watch(ctx, func() {
		if err := f.refresh(ctx); err != nil && ctx.Err() == nil {
			f.opts.Logger.WarnContext(ctx, "sessions not read after a change notification; retrying", "error", err)
			fallBehind()
		}
	}, func(id session.ID) {
		if err := f.follow(ctx, id); err != nil && ctx.Err() == nil {
			f.opts.Logger.WarnContext(ctx, "change of another process was not applied; retrying", "session_id", id, "error", err)
			fallBehind()
		}
	}) // ctx has ended
}

// Delays between two attempts to read the records that could not be read when they changed.
const (
	firstCatchUp = 500 * time.Millisecond
	lastCatchUp  = 4 * time.Second
)

// catchUp reads every session again after a change that could not be read: it is notified once only, and may be the rotation of a
// token.
func (f *follower) catchUp(ctx context.Context, behind <-chan struct{}) {
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
			if f.refresh(ctx) == nil {
				break
			}
		}
	}
}

// refresh updates the routes from every record. It reads the store only: addresses that need an inspection are left to
// [follower.locateAll].
func (f *follower) refresh(ctx context.Context) error {
	mark := f.routes.mark()
	page, err := f.store.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	listed := make(map[session.ID]bool, len(page.Sessions))
	for _, s := range page.Sessions {
		listed[s.ID] = true
		f.followRecord(mark, s)
	}
	return f.unpublishMissing(ctx, listed)
}

// unpublishMissing unpublishes the published sessions that are not in the list and that the store, read once more, does not have.
func (f *follower) unpublishMissing(ctx context.Context, listed map[session.ID]bool) error {
	for _, id := range f.routes.publishedIDs() {
		if listed[id] {
			continue
		}
		if err := f.follow(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// follow updates one session's route from its record.
func (f *follower) follow(ctx context.Context, id session.ID) error {
	mark := f.routes.mark()
	s, err := f.store.Get(ctx, id)
	if session.CodeOf(err) == session.CodeNotFound {
		f.locks.cancelSuperseded(id, session.Session{})
		if !f.locks.isWorking(id) { // otherwise the work unpublishes it at its end
			f.routes.unpublish(id)
		}
		return nil
	} else if err != nil {
		return err
	}
	f.followRecord(mark, s)
	return nil
}

// followRecord publishes a record that another process may have written. A new token takes effect at once; an unknown address is
// published after an inspection of the container. The mark was taken before the store was read.
func (f *follower) followRecord(mark uint64, s session.Session) {
	f.locks.cancelSuperseded(s.ID, s)
	if f.routes.isDuplicate(s) {
		f.unlocated.add(s.ID)
	}
	if f.locks.isWorking(s.ID) {
		f.routes.publishSince(mark, s) // its token may have been rotated; the work publishes the address
		return
	}
	if f.routes.publishFollowed(mark, s) {
		f.unlocated.add(s.ID)
	}
}

// maxConcurrentLocates is how many containers are inspected at once.
const maxConcurrentLocates = 4

// locateAll finds the addresses of sessions that other processes have started or moved, until ctx ends.
func (f *follower) locateAll(ctx context.Context) {
	f.unlocated.each(ctx, maxConcurrentLocates, func(id session.ID) {
		ctx := f.opts.Tracer.Start(ctx)
		if err := f.findServer(ctx, id); err != nil && ctx.Err() == nil {
			f.opts.Logger.WarnContext(ctx, "server of a session not found; the next reconciliation retries",
				"session_id", id, "error", err)
		}
	})
}

// findServer inspects a session's container for the address of its server, and publishes it.
func (f *follower) findServer(ctx context.Context, id session.ID) error {
	s, err := f.store.Get(ctx, id)
	if err == nil && f.routes.isDuplicate(s) {
		err = f.duplicates.tryResolve(ctx, id)
	}
	if err != nil || s.Status != session.Running || f.locks.isWorking(id) {
		return ignoreNotFound(err)
	}
	c, err := f.runtime.Inspect(ctx, s.ContainerName)
	if err != nil {
		return ignoreNotFound(err)
	}
	if c.State == session.StateRunning && !f.locks.isWorking(id) {
		f.routes.publishAt(s, placeOf(c))
	}
	return nil
}
