package oidc

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Time between attempts to get a document from the provider after a failure: it doubles from the first to the last.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// retry lets one request at a time get a document from the provider, and after a failure none for a while.
type retry struct {
	what string // it gets, for the log
	log  *slog.Logger
	now  func() time.Time
	slot chan struct{} // who has sent to it makes the attempt

	mu    sync.Mutex
	err   error // of the latest attempt
	wait  time.Duration
	until time.Time // of the next attempt, after a failure
}

func newRetry(what string, log *slog.Logger, now func() time.Time) *retry {
	return &retry{what: what, log: log, now: now, slot: make(chan struct{}, 1)}
}

// urgency is whether a request can do without the document.
type urgency time.Duration

// Every urgency; the value is the time-out of an attempt.
const (
	needed  = urgency(requestTimeout)
	renewal = urgency(2 * time.Second) // there is one that can be used; what another attempt gets is not waited for
)

// once calls get unless done reports that another has had success meanwhile, or the latest attempt has failed a moment ago;
// then its error is returned. The attempt survives the end of ctx, since others wait for it too.
func (r *retry) once(ctx context.Context, u urgency, done func() bool, get func(context.Context) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u == renewal {
		select {
		case r.slot <- struct{}{}:
		default:
			return nil
		}
	} else {
		select {
		case r.slot <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() { <-r.slot }()
	if done() {
		return nil
	}
	if err := r.failed(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(u))
	defer cancel()
	err := get(ctx)
	r.note(ctx, err)
	return err
}

// failed is the error of the latest attempt while none is due.
func (r *retry) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && r.now().Before(r.until) {
		return r.err
	}
	return nil
}

// note remembers the outcome of an attempt, and logs it if it has failed or the previous one had.
func (r *retry) note(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if r.err != nil {
			r.log.InfoContext(ctx, "identity provider recovered", "document", r.what)
		}
		r.err, r.wait = nil, 0
		return
	}
	r.log.WarnContext(ctx, "identity provider unavailable", "document", r.what, "error", err)
	r.err = err
	r.wait = min(max(2*r.wait, firstRetry), lastRetry)
	r.until = r.now().Add(r.wait)
}
