package lifecycle

import (
	"slices"
	"time"

	"berth/internal/session"
)

const (
	maxEvents  = 25 // that are kept of a session
	maxBlocked = 5  // of them at most, because programs in a container can cause these
)

// addEvent adds an event to the timeline of a session that is about to be recorded.
func addEvent(s *session.Session, now time.Time, what session.EventType, by, reason string) {
	timeline := slices.Clone(s.Timeline)
	if isBlocked := func(m session.Event) bool { return m.Type == session.EventBlocked }; what == session.EventBlocked && count(timeline, isBlocked) >= maxBlocked {
		first := slices.IndexFunc(timeline, isBlocked)
		timeline = slices.Delete(timeline, first, first+1)
	}
	if extra := len(timeline) + 1 - maxEvents; extra > 0 {
		timeline = timeline[extra:]
	}
	s.Timeline = append(timeline, session.Event{At: now, Type: what, By: by, Reason: reason})
}

func count(timeline []session.Event, is func(session.Event) bool) (n int) {
	for _, m := range timeline {
		if is(m) {
			n++
		}
	}
	return n
}

// changesNothing reports whether an event leaves the session's server and status as they are.
func changesNothing(what session.EventType) bool {
	return what == session.EventRotated || what == session.EventBlocked
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

// lastEventIs reports whether this is a session's last event, apart from those that change nothing.
func lastEventIs(s session.Session, what session.EventType, reason string) bool {
	for _, m := range slices.Backward(s.Timeline) {
		if !changesNothing(m.Type) {
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
		case m.Type != session.EventFailed && !changesNothing(m.Type):
			return false
		}
	}
	return false
}
