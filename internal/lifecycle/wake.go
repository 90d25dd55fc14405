package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// Wake starts a session that was stopped as idle or by the engine, and waits until it is running. If ctx ends first, the start
// continues. A session that was stopped for another reason is a CodeNotRunning error. A wake is admitted like a create, so that
// CodeLimit and CodePressure errors are possible.
func (m *Manager) Wake(ctx context.Context, id session.ID) error {
	for {
		s, err := m.store.Get(ctx, id)
		switch {
		case err != nil:
			return err
		case s.Status == session.Running && s.Operation == nil:
			return nil
		case !wakesOnRequest(s):
			return session.Errorf(session.CodeNotRunning, "the session has been stopped")
		}
		w, err := m.queue.submit(ctx, id, Command{Kind: session.OpStart, Wake: true})
		if err == nil {
			_, err = w.Wait(ctx)
			return err
		}
		if session.CodeOf(err) != session.CodeInProgress || pause(ctx, wakePause) != nil { // another wake is in progress
			return err
		}
	}
}

// wakePause is the interval at which the record is read while another wake of the session is in progress.
const wakePause = 50 * time.Millisecond
