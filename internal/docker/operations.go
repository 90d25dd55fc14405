package docker

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/semaphore"
)

// maxStops is how many stops may run at once beside the other operations: each of them mostly waits for a server to end.
const maxStops = 16

// errTooSlow is why the context of a call ends when the engine takes too long, while the caller still waits.
var errTooSlow = errors.New("the engine did not answer in time")

// operate runs one operation that changes something on the engine: when a slot is free, under a deadline of its own.
// Waiting for the slot ends with ctx.
func (r *Runtime) operate(ctx context.Context, doing string, do func(context.Context) error) error {
	return r.operateIn(ctx, r.slots, doing, 0, do)
}

// operateIn is operate with the given slots. extra is added to the deadline.
func (r *Runtime) operateIn(
	ctx context.Context, slots *semaphore.Weighted, doing string, extra time.Duration, do func(context.Context) error,
) error {
	if err := slots.Acquire(ctx, 1); err != nil {
		return r.failure(ctx, doing, err)
	}
	defer slots.Release(1)
	return r.bounded(ctx, doing, r.timeout+extra, do)
}

// read runs a call that changes nothing. It needs no slot: the monitor must work while all slots are occupied.
func (r *Runtime) read(ctx context.Context, doing string, do func(context.Context) error) error {
	return r.bounded(ctx, doing, r.timeout, do)
}

func (r *Runtime) bounded(ctx context.Context, doing string, limit time.Duration, do func(context.Context) error) error {
	inner, cancel := context.WithTimeoutCause(ctx, limit, errTooSlow)
	defer cancel()
	if err := do(inner); err != nil {
		return r.failure(ctx, doing, err)
	}
	return nil
}

// every calls check at intervals until it reports that it is done, or fails, or ctx ends, which is then the error.
func every(ctx context.Context, interval time.Duration, check func() (done bool, err error)) error {
	again := time.NewTicker(interval)
	defer again.Stop()
	for {
		if done, err := check(); done || err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// withGrace returns a context that ends some time after ctx does: for a request where the answer says what has to be undone.
// The caller must call the function to end it.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, func()) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel(context.Cause(ctx))
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel(nil) }
}

// stream returns a context for a request with a streamed answer: it ends with errTooSlow if the answer has not started
// within the time-out of an operation. The caller calls begun when it has started, and end when the stream has ended.
func (r *Runtime) stream(ctx context.Context) (inner context.Context, begun func(), end context.CancelCauseFunc) {
	inner, end = context.WithCancelCause(ctx)
	slow := time.AfterFunc(r.timeout, func() { end(errTooSlow) })
	return inner, func() { slow.Stop() }, end
}

// streamError is the error with which a stream ended: a cancellation, or the end of the engine, may look like a clean end.
func streamError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}
