package lifecycle

import (
	"slices"
	"time"

	"berth/internal/session"
)

// maxEvents is how many events of a session are kept.
const maxEvents = 25

// addEvent adds an event to the timeline of a session that is about to be recorded.
func addEvent(s *session.Session, now time.Time, what session.EventType, by, reason string) {
	timeline := slices.Clone(s.Timeline)
	if extra := len(timeline) + 1 - maxEvents; extra > 0 {
		timeline = timeline[extra:]
	}
	s.Timeline = append(timeline, session.Event{At: now, Type: what, By: by, Reason: reason})
}

// lastReady returns when the session's server last became ready. Its address may have changed since with the same port, because all
// servers on the sessions' network have the same port.
func lastReady(s session.Session) time.Time {
	for _, m := range slices.Backward(s.Timeline) {
		if m.Type == session.EventReady || m.Type == session.EventRestarted {
			return m.At
		}
	}
	return time.Time{}
}

// lastEventIs reports whether this is a session's last event, apart from rotations.
func lastEventIs(s session.Session, what session.EventType, reason string) bool {
	for _, m := range slices.Backward(s.Timeline) {
		if m.Type != session.EventRotated {
			return m.Type == what && m.Reason == reason
		}
	}
	return false
}

// hasFailedFor reports whether a session's last events are failures, one of them for this reason.
func hasFailedFor(s session.Session, reason string) bool {
	for _, m := range slices.Backward(s.Timeline) {
		switch {
		case m.Type == session.EventFailed && m.Reason == reason:
			return true
		case m.Type != session.EventFailed && m.Type != session.EventRotated:
			return false
		}
	}
	return false
}
