package lifecycle

import (
	"slices"
	"time"

	"berth/internal/session"
)

// maxEvents is how many events of a session are kept.
const maxEvents = 25

// addEvent adds what happens to the timeline of a session that is about to be recorded.
func addEvent(s *session.Session, now time.Time, what session.EventType, by, reason string) {
	timeline := slices.Clone(s.Timeline)
	if extra := len(timeline) + 1 - maxEvents; extra > 0 {
		timeline = timeline[extra:]
	}
	s.Timeline = append(timeline, session.Event{At: now, Type: what, By: by, Reason: reason})
}

// lastReady is when the session's server was last brought up. It may be at another address since, and have the same port: on
// the sessions' network all servers do.
func lastReady(s session.Session) time.Time {
	for _, m := range slices.Backward(s.Timeline) {
		if m.Type == session.EventReady || m.Type == session.EventRestarted {
			return m.At
		}
	}
	return time.Time{}
}

// lastEventIs reports whether this is the last thing that happened to a session, new tokens aside.
func lastEventIs(s session.Session, what session.EventType, reason string) bool {
	for _, m := range slices.Backward(s.Timeline) {
		if m.Type != session.EventRotated {
			return m.Type == what && m.Reason == reason
		}
	}
	return false
}

// hasFailedFor reports whether a failure for this reason is among the failures in a row that happened to a session last.
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
