package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// errHeaderTimeout is the cause with which a request ends when its server has sent no response header in time.
var errHeaderTimeout = session.Errorf(session.CodeUpstreamTimeout, "the session's server did not begin to answer in time; try again, "+
	"and if the call works for so long before it says anything, have it listed under \"silent\" in the image profile")

// headerTimer limits the time from the end of a request to the header of its response. The zero value has no limit.
type headerTimer struct {
	limit   time.Duration
	timer   *time.Timer // nil: no limit
	settled atomic.Bool // the header has arrived, or the timer has fired first
}

// begin starts the timer, or has the end of the body start it: sending the body is not limited. When the timer fires, cancel is
// called with [errHeaderTimeout].
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

// start restarts the timer.
func (w *headerTimer) start() { w.timer.Reset(w.limit) }

// headerInTime records that the header has arrived and reports whether it arrived in time.
func (w *headerTimer) headerInTime() bool {
	if w.timer == nil {
		return true
	}
	w.timer.Stop()
	return w.settled.CompareAndSwap(false, true)
}

// stop stops the timer of a finished request.
func (w *headerTimer) stop() {
	if w.timer != nil {
		w.settled.Store(true)
		w.timer.Stop()
	}
}
