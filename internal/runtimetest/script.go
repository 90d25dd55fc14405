package runtimetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"berth/internal/session"
)

// Op names a method of session.Runtime.
type Op string

// The methods.
const (
	OpCreate        Op = "Create"
	OpStart         Op = "Start"
	OpStop          Op = "Stop"
	OpPause         Op = "Pause"  // of session.Pauser
	OpResume        Op = "Resume" // of session.Pauser
	OpRemove        Op = "Remove"
	OpRemoveVolumes Op = "RemoveVolumes"
	OpCheckImage    Op = "CheckImage"
	OpDrift         Op = "Drift"
	OpSaveState     Op = "SaveState"
	OpCheckCopy     Op = "CheckCopy"
	OpRestoreState  Op = "RestoreState"
	OpInspect       Op = "Inspect"
	OpList          Op = "List"
	OpLogs          Op = "Logs"
	OpStats         Op = "Stats"
	OpWatch         Op = "Watch"
	OpPing          Op = "Ping"
)

// Call is a call that was made, recorded when it began.
type Call struct {
	Op  Op
	Ref string // container ID or name as the caller gave it, the image for CheckImage; empty for List, Watch and Ping
}

// Step changes how calls of an operation go. Its parts apply in this order: Delay, Until, then the operation, unless
// Err replaces it. The zero Step changes nothing.
type Step struct {
	Times int             // number of calls that take this step; 0: one, below 0: all further ones
	Delay time.Duration   // waits first; ends early with the caller's context
	Until <-chan struct{} // waits until it is closed, or the caller's context ends
	Err   error           // the error that the call returns
	// ActFirst does the operation although Err is returned, as when the response is lost.
	ActFirst bool
}

// Script adds steps for the next calls of op. Each call takes the first remaining step; without one it is unchanged.
func (f *Fake) Script(op Op, steps ...Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range steps {
		if s.Times == 0 {
			s.Times = 1
		}
		f.steps[op] = append(f.steps[op], s)
	}
}

// ClearScript removes the remaining steps of every operation.
func (f *Fake) ClearScript() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.steps)
}

// Calls returns the calls so far, in the order in which they began; of the given operations only, if any are given.
func (f *Fake) Calls(ops ...Op) []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var calls []Call
	for _, c := range f.calls {
		if len(ops) == 0 || slices.Contains(ops, c.Op) {
			calls = append(calls, c)
		}
	}
	return calls
}

// SamePort gives every server from now on this port, and each run a loopback address of its own, as on a network of
// containers without published ports.
func (f *Fake) SamePort(port int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.samePort = port
}

// SetDown makes every call fail with CodeEngineUnavailable and breaks the event streams, as when the engine stops:
// running servers keep running. SetDown(false) ends that.
func (f *Fake) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	if down {
		f.breakStreams()
	}
}

// BreakStreams ends every Watch with an error, and has no other effect.
func (f *Fake) BreakStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breakStreams()
}

func (f *Fake) breakStreams() {
	for w := range f.watchers {
		close(w.broken)
		delete(f.watchers, w)
	}
}

// Disconnect takes a container off its network: its server keeps running and has no address until its next start.
func (f *Fake) Disconnect(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[name]; c != nil {
		c.info.Address = ""
	}
}

// Reconnect restores the address of a running container that was disconnected.
func (f *Fake) Reconnect(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[name]; c != nil && c.server != nil {
		c.info.Address = c.server.address
	}
}

// DropEvents drops events while lose is true: changes are visible only to Inspect and List.
func (f *Fake) DropEvents(lose bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropEvents = lose
}

func unavailable() error {
	return session.Errorf(session.CodeEngineUnavailable, "the fake engine is down; it is so on purpose")
}

// begin records a call and returns the step that it has to take.
func (f *Fake) begin(op Op, ref string) Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, Call{Op: op, Ref: ref})
	left := f.steps[op]
	if len(left) == 0 {
		return Step{}
	}
	step := left[0]
	if left[0].Times--; left[0].Times == 0 {
		f.steps[op] = left[1:]
	}
	return step
}

// call runs the common part of every method around its operation.
func (f *Fake) call(ctx context.Context, op Op, ref string, deed func() error) error {
	step := f.begin(op, ref)
	if err := step.wait(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", op, ref, err)
	}
	if f.isDown() {
		return unavailable()
	}
	if step.Err != nil && !step.ActFirst {
		return step.Err
	}
	if err := deed(); err != nil {
		return err
	}
	return step.Err
}

// callOn is call for an operation on a container, which runs with the lock held.
func (f *Fake) callOn(ctx context.Context, op Op, ref string, deed func(*container) error) error {
	return f.call(ctx, op, ref, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		c := f.find(ref)
		if c == nil {
			return notFound(ref)
		}
		return deed(c)
	})
}

func (f *Fake) isDown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (s Step) wait(ctx context.Context) error {
	if s.Delay > 0 && !sleep(ctx, s.Delay) {
		return context.Cause(ctx)
	}
	if s.Until != nil {
		select {
		case <-s.Until:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// sleep waits, and reports whether the whole time has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Spec returns what a container was made from.
func (f *Fake) Spec(name string) (session.Spec, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[name]
	if !ok {
		return session.Spec{}, false
	}
	return c.spec, true
}
