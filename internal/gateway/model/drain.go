package model

import (
	"context"
	"time"
)

// leave is called when the session does not read the answer any more. The answer is read on for a while: the provider counts at its
// end, and what it counts is what it bills.
func (f *forwarding) leave() {
	if f.left.Swap(true) {
		return
	}
	if !f.h.startDrain() {
		f.cancel(errLeft)
		return
	}
	f.drain.Lock()
	defer f.drain.Unlock()
	if f.ended {
		f.h.endDrain()
		return
	}
	timer := time.AfterFunc(f.h.limits.DrainTime, func() { f.cancel(errLeft) })
	stop := context.AfterFunc(f.h.closing, func() { f.cancel(errLeft) })
	f.undrain = func() {
		timer.Stop()
		stop()
		f.h.endDrain()
	}
}

// stopDraining is called when the call has ended.
func (f *forwarding) stopDraining() {
	f.drain.Lock()
	defer f.drain.Unlock()
	f.ended = true
	if f.undrain != nil {
		f.undrain()
	}
}

// startDrain takes one of the answers that are drained at a time; endDrain gives it back.
func (h *Handler) startDrain() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drains >= h.limits.Drains || h.closing.Err() != nil {
		return false
	}
	h.drains++
	return true
}

func (h *Handler) endDrain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drains--
}
