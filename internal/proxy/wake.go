package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"berth/internal/session"
)

const (
	defaultWakeTimeout = 30 * time.Second
	// wakeRetry is when it is worth trying again after a wait that was too short.
	wakeRetry = 2 * time.Second
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

// wakeSession brings up the session of a call that found it stopped for want of use, and gives the call its new entry.
// Programs wait; a person gets a page that follows the start, which answered says.
func (p *Proxy) wakeSession(c *call) (answered bool, err error) {
	stopped := notRunning(c.entry.route, time.Now())
	if p.wake == nil || !c.entry.route.Wakes {
		return false, stopped
	}
	if err := p.checkOrigin(c.in); err != nil {
		return false, err
	}
	by := session.WithActor(c.in.Context(), "user")
	if isNavigation(c.in) {
		if err := p.wakeBehind(by, c.id); err != nil {
			return false, wakeFailure(err)
		}
		writeWakePage(c)
		return true, nil
	}
	ctx, cancel := context.WithTimeout(by, p.wakeTimeout)
	defer cancel()
	if err := p.wake(ctx, c.id); err != nil {
		return false, wakeFailure(err)
	}
	if err := p.authenticate(c); err != nil { // the token may have been replaced meanwhile
		return false, err
	}
	if c.entry.upstream == nil {
		return false, stopped
	}
	return false, nil
}

// notRunning says to whoever uses a session that does not run what there is to do: to wait, where its server is started
// anyway. To start a session is not a user's to do.
func notRunning(r session.Route, now time.Time) *session.Failure {
	switch wait := r.StartsAt.Sub(now).Round(time.Second); {
	case r.StartsAt.IsZero():
		return session.Errorf(session.CodeNotRunning,
			"the session is not running; ask whoever gave it to you to start it, then try again").After(notRunningRetry)
	case wait > 0:
		return session.Errorf(session.CodeNotRunning, "the session's server has ended and is started again by itself in %d s; try again then",
			int(wait.Seconds())).After(wait + wakeRetry)
	}
	return session.Errorf(session.CodeNotRunning, "the session is being started; try again in a moment").After(wakeRetry)
}

// wakeBehind wakes a session while its page is shown; the next request asks how it went. It returns the reason when there
// is no room, which is known at once: a page that says "starting" for ever would hide it.
func (p *Proxy) wakeBehind(by context.Context, id session.ID) error {
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(by), p.wakeTimeout)
		defer cancel()
		defer context.AfterFunc(p.life, cancel)()
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
			f = f.After(notRunningRetry)
		}
		return f
	case ok && (f.Code == session.CodeCanceled || f.Code == session.CodeInProgress):
		return session.Errorf(session.CodeNotRunning, "the session is starting; try again in a moment").Because(err).After(wakeRetry)
	}
	return session.Errorf(session.CodeNotRunning, "the session could not be started: %s", session.MessageOf(err)).Because(err).After(notRunningRetry)
}

// isNavigation reports whether a person waits for a page.
func isNavigation(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") && (mode == "" || mode == "navigate")
}

func writeWakePage(c *call) {
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("Retry-After", seconds(wakeRetry))
	c.w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = c.w.Write([]byte(wakePage))
}
