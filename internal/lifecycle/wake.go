package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// Wake brings up a session that was stopped because nobody used it or by the engine, and waits until it can be used or
// ctx ends; the start goes on then. One that somebody has stopped stays so, which is a CodeNotRunning error. It is admitted
// as a create is: a CodeLimit or CodePressure error means that there is no room.
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
		if session.CodeOf(err) != session.CodeInProgress || pause(ctx, wakePause) != nil { // somebody else is waking it
			return err
		}
	}
}

// wakePause is how often a session is looked at that somebody else is waking.
const wakePause = 50 * time.Millisecond
