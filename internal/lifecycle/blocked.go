package lifecycle

import (
	"context"
	"errors"
	"slices"

	"berth/internal/session"
)

// errKnown ends a change of a timeline that has the event already.
var errKnown = errors.New("the timeline has this event already")

// Blocked adds to a session's timeline that the gateway has refused a request of its container. The same reason is added once, as long
// as the timeline has it. The caller limits how often this is called.
func (m *Manager) Blocked(ctx context.Context, id session.ID, reason string) error {
	reason = line(reason) // it has what a program in the container has sent
	_, err := m.records.change(ctx, id, func(s *session.Session) error {
		if slices.ContainsFunc(s.Timeline, func(e session.Event) bool { return e.Type == session.EventBlocked && e.Reason == reason }) {
			return errKnown
		}
		m.reports.appendEvent(ctx, s, session.EventBlocked, reason)
		return nil
	})
	if errors.Is(err, errKnown) {
		return nil
	}
	return err
}
