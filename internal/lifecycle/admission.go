package lifecycle

import (
	"context"

	"berth/internal/session"
)

// admit asks whether one more session may begin to take a place, beside whether a place is free, which the store decides.
//
// It is asked of a create, and of a start, restart or wake of a session that holds no place. Whatever holds one has been
// admitted already: a running session that is restarted or healed, and an operation that another process takes up, only
// go on using what they were given. To refuse them would turn a busy host into lost sessions.
func (m *Manager) admit(ctx context.Context) error {
	if m.opts.Admit == nil {
		return nil
	}
	return m.opts.Admit(ctx)
}

// refused passes an error on, and tells of it if it is a refusal for want of room.
func (m *Manager) refused(ctx context.Context, err error) error {
	if code := session.CodeOf(err); code == session.CodeLimit || code == session.CodePressure {
		m.emit(ctx, Report{Rejected: err})
	}
	return err
}
