package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"berth/internal/proxy/policy"
	"berth/internal/session"
)

const (
	defaultWakeTimeout = 30 * time.Second
	// refusalWait is how long a page is held back for the word that there is no room.
	refusalWait = 250 * time.Millisecond
)

// wakePage is what a person sees while the session starts. It asks again by itself.
const wakePage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<title>Starting…</title>
<style>body{font:1.1rem system-ui;display:grid;place-items:center;height:100vh;margin:0}</style>
<p>Your session was asleep and is starting. This page opens it in a moment.</p>
</html>
`

// waitForStart starts the session of a call that found it stopped for want of use, and gives the call its new entry and
// verdict.
func (p *Proxy) waitForStart(c *call) error {
	stopped := c.verdict.Reason
	ctx, cancel := context.WithTimeout(byUser(c), p.wakeTimeout)
	defer cancel()
	if err := p.wake(ctx, c.request.Place.Session); err != nil {
		return wakeFailure(err)
	}
	if err := p.authenticate(c); err != nil { // the token may have been replaced meanwhile
		return err
	}
	if c.entry.upstream == nil {
		return stopped
	}
	p.judge(c)
	return nil
}

// showWakePage starts the session behind a page that follows the start.
func (p *Proxy) showWakePage(c *call) error {
	if err := p.wakeBehind(byUser(c), c.request.Place.Session); err != nil {
		return wakeFailure(err)
	}
	writeWakePage(c)
	return nil
}

func byUser(c *call) context.Context { return session.WithActor(c.in.Context(), "user") }

// wakeBehind wakes a session while its page is shown; the next request asks how it went. It returns the reason when there
// is no room, which is known at once: a page that says "starting" for ever would hide it.
func (p *Proxy) wakeBehind(by context.Context, id session.ID) error {
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(by), p.wakeTimeout)
		defer cancel()
		defer context.AfterFunc(p.wakes, cancel)()
		ended <- p.wake(ctx, id)
	}()
	select {
	case err := <-ended:
		if code := session.CodeOf(err); code == session.CodeLimit || code == session.CodePressure {
			return err
		}
	case <-time.After(refusalWait):
	}
	return nil
}

// wakeFailure says why a session did not come up in time for a request.
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

func writeWakePage(c *call) {
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("Retry-After", seconds(policy.WakeRetry))
	c.w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = c.w.Write([]byte(wakePage))
}
