package lifecycle

import (
	"time"

	"berth/internal/session"
)

// eventStream is the state of the stream of the engine's events at one moment. Whoever needs to know later what has become of
// the engine keeps it and compares. The zero value is the time before the first connection, which is no outage.
type eventStream struct {
	number  int  // of connections so far; 0: there was none yet
	open    bool // the last one still is
	outages int  // counts the begins and ends of times without events; odd: this is such a time
}

// isInterrupted reports whether events are missing at this moment.
func (s eventStream) isInterrupted() bool { return s.outages%2 == 1 }

// hasReturned reports whether a stream is open at a later moment that was not open at this one.
func (s eventStream) hasReturned(later eventStream) bool { return later.open && later != s }

// hasChanged reports whether events began or ended to be missing until a later moment.
func (s eventStream) hasChanged(later eventStream) bool { return s.outages != later.outages }

// engineView is what is known of the engine. Guarded by healthRecords.mu.
type engineView struct {
	stream  eventStream
	refused bool // the engine could not be connected to when that was tried last
	answers int  // how often in a row it has answered and not given its events when they were asked for, whatever is in the way of them

	charged map[session.ID]time.Time // when a restart was last counted, to take it back if the engine turns out to be stopping
	refunds []session.ID             // sessions whose last restart does not count
}

// lacksEvents reports whether the engine answers but sends no events. Once is not enough: it may just be starting.
func (e *engineView) lacksEvents() bool { return e.answers > 1 }
