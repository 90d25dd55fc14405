package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// errHeaderTimeout is the cause by which a request ends when its server has not begun to answer in time.
var errHeaderTimeout = session.Errorf(session.CodeUpstreamTimeout, "the session's server did not begin to answer in time; try again, "+
	"and if the call works for so long before it says anything, have it listed under \"silent\" in the image profile")

// headerTimer is the time that a server has from the end of a request to the header of its answer. The zero value waits for
// ever.
type headerTimer struct {
	limit   time.Duration
	timer   *time.Timer // nil: nothing is limited
	settled atomic.Bool // the header has come, or the time was up before
}

// begin starts the clock, or has the end of the body start it: a client may take its time to send. When the time is up
// cancel is called with [errHeaderTimeout].
func (w *headerTimer) begin(limit time.Duration, body *clientBody, cancel context.CancelCauseFunc) {
	w.limit = limit
	w.timer = time.AfterFunc(limit, func() {
		if w.settled.CompareAndSwap(false, true) {
			cancel(errHeaderTimeout)
		}
	})
	if body != nil {
		w.timer.Stop()
		body.startAtEnd(w)
	}
}

// start restarts the clock.
func (w *headerTimer) start() { w.timer.Reset(w.limit) }

// headerInTime records that the header has arrived and reports whether it arrived in time.
func (w *headerTimer) headerInTime() bool {
	if w.timer == nil {
		return true
	}
	w.timer.Stop()
	return w.settled.CompareAndSwap(false, true)
}

// stop ends the clock of a request that is over, however it ended.
func (w *headerTimer) stop() {
	if w.timer != nil {
		w.settled.Store(true)
		w.timer.Stop()
	}
}
