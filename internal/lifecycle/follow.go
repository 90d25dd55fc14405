package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// follower follows what other processes do to sessions, and looks on the engine for the servers that they have moved.
type follower struct {
	store      session.Store
	runtime    session.Runtime
	opts       Options
	reports    *reporter
	routes     *publisher
	locks      *sessionLocks
	duplicates *duplicates
	unlocated  *worklist // sessions whose address another process has changed
}

// watchFeed follows what other processes do to sessions until ctx ends.
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
			f.opts.Logger.WarnContext(ctx, "change of another process was not followed; retrying", "session_id", id, "error", err)
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

// refresh brings the routes up to date with every record. It asks the store only: what has to be looked for on the
// engine is left to [follower.locateAll].
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

// unpublishMissing unpublishes the published sessions that are not listed and, when asked for by name, not there.
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

// follow brings one session's route up to date with its record.
func (f *follower) follow(ctx context.Context, id session.ID) error {
	mark := f.routes.mark()
	s, err := f.store.Get(ctx, id)
	if session.CodeOf(err) == session.CodeNotFound {
		f.locks.cancelSuperseded(id, session.Session{})
		if !f.locks.isWorking(id) { // else the work unpublishes when it is done
			f.routes.unpublish(id)
		}
		return nil
	} else if err != nil {
		return err
	}
	f.followRecord(mark, s)
	return nil
}

// followRecord publishes a record that may be another process's. A token is exchanged at once; an address that is not
// known comes after a look at the engine. The mark was taken before the store was asked.
func (f *follower) followRecord(mark uint64, s session.Session) {
	f.locks.cancelSuperseded(s.ID, s)
	if f.routes.isDuplicate(s) {
		f.unlocated.add(s.ID)
	}
	if f.locks.isWorking(s.ID) {
		f.routes.publishSince(mark, s) // its token may have been exchanged; where it is the work knows
		return
	}
	if f.routes.publishFollowed(mark, s) {
		f.unlocated.add(s.ID)
	}
}

// maxConcurrentLocates is how many sessions are looked for at once.
const maxConcurrentLocates = 4

// locateAll looks for the servers of sessions that other processes have started or moved, until ctx ends.
func (f *follower) locateAll(ctx context.Context) {
	f.unlocated.each(ctx, maxConcurrentLocates, func(id session.ID) {
		ctx := f.opts.Tracer.Start(ctx)
		if err := f.findServer(ctx, id); err != nil && ctx.Err() == nil {
			f.opts.Logger.WarnContext(ctx, "server of a session not found; the next reconciliation looks again",
				"session_id", id, "error", err)
		}
	})
}

// findServer looks on the engine for where a session's server is, and publishes that.
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
		f.routes.publishAt(s, c.Address)
	}
	return nil
}
