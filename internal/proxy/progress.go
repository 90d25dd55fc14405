package proxy

import (
	"encoding/json"
	"net/http"

	"berth/internal/access"
	"berth/internal/outcome"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// progressOf returns how far the start of a session has come. The failure of a wake is returned once.
func (p *Proxy) progressOf(e *entry) session.Progress {
	if e.route.Running {
		return session.Progress{Stage: session.StageReady}
	}
	got := session.Progress{Stage: session.StageStopped}
	switch {
	case p.progress != nil:
		got = p.progress(e.route.ID)
	case !e.route.StartsAt.IsZero():
		got.Stage = session.StageQueued
	}
	switch got.Stage {
	case session.StageReady: // its route follows
		got.Stage = session.StageServer
	case session.StageStopped, session.StageFailed:
		running, failure := e.use.wakes.state()
		switch {
		case running:
			return session.Progress{Stage: session.StageQueued}
		case failure != nil:
			return session.Progress{Stage: session.StageFailed, Message: session.MessageOf(wakeFailure(failure))}
		}
	case session.StageQueued, session.StageContainer, session.StageServer:
	}
	return got
}

// tellProgress answers the script of the progress page. It neither starts a session nor counts as a use of it.
func (p *Proxy) tellProgress(c *call) error {
	if err := p.authenticate(c); err != nil {
		return err
	}
	if !access.May(c.principal, access.Open, c.entry.route.ID, "") {
		return access.Reject(access.Proxy, access.Missing)
	}
	text, err := json.Marshal(p.progressOf(c.entry))
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = c.w.Write(text) // the client has closed the connection
	return nil
}

// showProgress answers a navigation to a session that does not run: with a page that shows how far its start has come and opens it
// when it runs, or with why it does not start. A session that its route wakes is started, unless a wake has just failed: then the
// page tells that, and the next navigation starts it again.
func (p *Proxy) showProgress(c *call) error {
	why := c.verdict.Reason
	now := p.progressOf(c.entry)
	if p.rules.Wake && c.entry.route.Wakes && now.Stage == session.StageStopped {
		now.Stage = session.StageQueued
		if err := p.wakeInBackground(c); err != nil {
			why = wakeFailure(err)
			now = session.Progress{Stage: session.StageFailed, Message: session.MessageOf(why)}
		} else if p.progress != nil {
			if reached := p.progress(c.entry.route.ID).Stage; reached == session.StageContainer || reached == session.StageServer {
				now.Stage = reached
			}
		}
	}
	if now.Stage == session.StageStopped {
		now.Message = session.MessageOf(why)
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	wait := outcome.RetryAfter(why)
	if now.Stage != session.StageStopped && now.Stage != session.StageFailed {
		wait = policy.WakeRetry
	}
	if wait > 0 {
		h.Set("Retry-After", seconds(wait))
	}
	status := outcome.Of(session.CodeOf(why)).Status
	if status < http.StatusBadRequest {
		status = http.StatusServiceUnavailable
	}
	return writePage(c, status, progressPage, progressPolicy, newProgressView(now))
}
