package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"berth/internal/proxy/policy"
	"berth/internal/session"
)

const (
	defaultWakeTimeout = 30 * time.Second
	// refusalWait is how long the response waits for the error that the limit is reached, before the page is shown.
	refusalWait = 250 * time.Millisecond
)

// waitForStart starts a session that was stopped as idle, and gives the call the new entry and verdict.
func (p *Proxy) waitForStart(c *call) error {
	stopped := c.verdict.Reason
	ctx, cancel := context.WithTimeout(asUser(c), p.wakeTimeout)
	defer cancel()
	if err := p.wake(ctx, c.request.Place.Session); err != nil {
		return wakeFailure(err)
	}
	if err := p.authenticate(c); err != nil { // the token may have been replaced during the start
		return err
	}
	if c.entry.upstream == nil {
		return stopped
	}
	p.judge(c)
	return nil
}

func asUser(c *call) context.Context { return session.WithActor(c.in.Context(), "user") }

// backgroundWakes are the wakes of a session that no request waits for. The zero value has none.
type backgroundWakes struct {
	mu      sync.Mutex
	running int
	failure error // of the last one that has ended, until somebody is told
}

func (b *backgroundWakes) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running++
	b.failure = nil
}

func (b *backgroundWakes) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
	b.failure = err
}

// state reports whether a wake is in progress, and returns the failure of the last one, once.
func (b *backgroundWakes) state() (running bool, failure error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == 0 {
		failure, b.failure = b.failure, nil
	}
	return b.running > 0, failure
}

// wakeInBackground starts a session while its page is shown, which asks for the result. It returns the error when the limit is
// reached or the host is under pressure, which is known at once.
func (p *Proxy) wakeInBackground(c *call) error {
	by, id, wakes := asUser(c), c.request.Place.Session, &c.entry.use.wakes
	wakes.begin()
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(by), p.wakeTimeout)
		defer cancel()
		defer context.AfterFunc(p.wakes, cancel)()
		err := p.wake(ctx, id)
		if code := session.CodeOf(err); ctx.Err() != nil || code == session.CodeCanceled || code == session.CodeInProgress {
			wakes.end(nil) // the start goes on
		} else {
			wakes.end(err)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		if code := session.CodeOf(err); code == session.CodeLimit || code == session.CodePressure {
			_, _ = wakes.state() // the caller tells
			return err
		}
	case <-time.After(refusalWait):
	}
	return nil
}

// wakeFailure returns the error for a session that did not start in time for a request.
func wakeFailure(err error) error {
	f, ok := errors.AsType[*session.Failure](err)
	switch {
	case ok && (f.Code == session.CodeLimit || f.Code == session.CodePressure || f.Code == session.CodeEngineUnavailable ||
		f.Code == session.CodeStoreUnavailable):
		if f.RetryAfter == 0 {
			f = f.After(policy.NotRunningRetry)
		}
		return f
	case ok && (f.Code == session.CodeCanceled || f.Code == session.CodeInProgress):
		return session.Errorf(session.CodeNotRunning, "the session is starting; try again in a moment").Because(err).After(policy.WakeRetry)
	}
	return session.Errorf(session.CodeNotRunning, "the session could not be started: %s", session.MessageOf(err)).Because(err).After(policy.NotRunningRetry)
}
