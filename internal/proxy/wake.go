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
	// refusalWait is how long the response waits for the error that the limit is reached, before the page is shown.
	refusalWait = 250 * time.Millisecond
)

// wakePage is shown in a browser while the session starts. It reloads itself.
const wakePage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<title>Starting…</title>
<style>body{font:1.1rem system-ui;display:grid;place-items:center;height:100vh;margin:0}</style>
<p>Your session was stopped as idle and is starting. This page opens it in a moment.</p>
</html>
`

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

// showWakePage starts the session in the background and answers with a page that reloads until it runs.
func (p *Proxy) showWakePage(c *call) error {
	if err := p.wakeInBackground(asUser(c), c.request.Place.Session); err != nil {
		return wakeFailure(err)
	}
	writeWakePage(c)
	return nil
}

func asUser(c *call) context.Context { return session.WithActor(c.in.Context(), "user") }

// wakeInBackground starts a session while its page is shown; the page's next request gets the result. It returns the error
// when the limit is reached or the host is under pressure, which is known at once.
func (p *Proxy) wakeInBackground(by context.Context, id session.ID) error {
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

func writeWakePage(c *call) {
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("Retry-After", seconds(policy.WakeRetry))
	c.w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = c.w.Write([]byte(wakePage))
}
