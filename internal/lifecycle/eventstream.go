package lifecycle

import (
	"time"

	"berth/internal/session"
)

// eventStream is a snapshot of the state of the engine's event stream. A later snapshot compared with it shows whether the engine
// was unavailable in between. The zero value is the time before the first connection, which is no outage.
type eventStream struct {
	number  int  // of connections so far
	open    bool // the last connection is still open
	outages int  // counts the begins and ends of interruptions; odd: an interruption now
}

// isInterrupted reports whether no events are received now.
func (s eventStream) isInterrupted() bool { return s.outages%2 == 1 }

// hasReturned reports whether the stream was closed in this snapshot and is open in a later one.
func (s eventStream) hasReturned(later eventStream) bool { return later.open && later != s }

// hasChanged reports whether an interruption began or ended before a later snapshot.
func (s eventStream) hasChanged(later eventStream) bool { return s.outages != later.outages }

// engineView is what this process has observed of the engine. Guarded by healthRecords.mu.
type engineView struct {
	stream  eventStream
	refused bool // the last connection attempt failed
	answers int  // requests for events in a row that failed although the engine answered a ping

	charged map[session.ID]time.Time // when a restart was last counted, to undo that if the engine turns out to be stopping
	refunds []session.ID             // sessions of which the last restart does not count
}

// lacksEvents reports whether the engine answers but sends no events. One such answer is not enough: it may be starting.
func (e *engineView) lacksEvents() bool { return e.answers > 1 }
