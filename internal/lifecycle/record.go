package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"
)

// recorder changes records, and publishes their routes.
type recorder struct {
	store  session.Store
	opts   Options
	routes *publisher
}

// change reads a session, applies f, writes it back and publishes its route. It starts again if the record has changed meanwhile.
func (r *recorder) change(ctx context.Context, id session.ID, f func(*session.Session) error) (session.Session, error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	for {
		s, err := r.store.Get(ctx, id)
		if err != nil {
			return session.Session{}, err
		}
		s = s.Clone()
		before, revision := s.Status, s.Revision
		if err := f(&s); err != nil {
			return session.Session{}, err
		}
		if !before.CanBecome(s.Status) {
			return session.Session{}, fmt.Errorf("session %s cannot move from %s to %s", id, before, s.Status)
		}
		mark := r.routes.mark()
		s, err = r.store.Update(ctx, s, session.Unlimited)
		switch session.CodeOf(err) {
		case "":
			r.routes.publishSince(mark, s)
			return s, nil
		case session.CodeConflict:
			r.opts.Logger.DebugContext(ctx, "session changed meanwhile, retrying", "session_id", id, "revision", revision)
		default:
			return session.Session{}, err
		}
	}
}

// changeIf changes a session if it has this status and no operation.
func (r *recorder) changeIf(ctx context.Context, id session.ID, status session.Status, f func(*session.Session)) error {
	_, err := r.change(ctx, id, func(now *session.Session) error {
		if now.Status != status || now.Operation != nil {
			return errChanged
		}
		f(now)
		return nil
	})
	return ignoreChanged(err)
}

// changeOwned changes a session while this process owns its operation, and returns errTakenOver if it does not any more. While the
// store is unavailable it retries until ctx ends.
func (r *recorder) changeOwned(ctx context.Context, s session.Session, f func(*session.Session)) (session.Session, error) {
	for {
		changed, err := r.change(ctx, s.ID, func(now *session.Session) error {
			if !isSame(*now, s) {
				return errTakenOver
			}
			f(now)
			return nil
		})
		if session.CodeOf(err) != session.CodeStoreUnavailable || pause(ctx, time.Second) != nil {
			return changed, err
		}
	}
}

// holds returns nil if the operation recorded with s is still the session's operation, errTakenOver if it is not, and the store's
// error if that cannot be read. It is called before every irreversible action.
func (r *recorder) holds(ctx context.Context, s session.Session) error {
	now, err := r.store.Get(ctx, s.ID)
	switch {
	case session.CodeOf(err) == session.CodeNotFound:
		return errTakenOver
	case err != nil:
		return err
	case !isSame(now, s):
		return errTakenOver
	}
	return nil
}

var errChanged = errors.New("the session has changed meanwhile")

// ignoreChanged returns nil for errChanged and for a deleted session, and err otherwise.
func ignoreChanged(err error) error {
	if errors.Is(err, errChanged) {
		return nil
	}
	return ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if session.CodeOf(err) == session.CodeNotFound {
		return nil
	}
	return err
}

// recordTimeout bounds a write that has to be made even if the caller has disconnected.
const recordTimeout = 10 * time.Second

// detach returns a context for a write that must be completed even if its request ends.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}

// pause waits, and returns the context's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isSame reports whether two records are of the same session with the same operation.
func isSame(a, b session.Session) bool {
	return a.CreatedAt.Equal(b.CreatedAt) && a.Operation.Same(b.Operation)
}
