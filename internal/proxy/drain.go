package proxy

import (
	"context"
	"fmt"

	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// errShuttingDown is the error of requests that arrive after Drain has ended, and the cause with which it ends streams.
var errShuttingDown = session.Errorf(session.CodeShuttingDown, "Berth is stopping; try again in a moment").After(policy.NotRunningRetry)

// InFlight returns how many requests are being served, streams included.
func (p *Proxy) InFlight() int {
	all, _ := p.inFlight.Count()
	return all
}

// Drain waits for the requests in flight, and then ends event streams and WebSockets, which do not end by themselves. Until
// then, requests that arrive on open connections are served. quiet is closed when no request can arrive any more; nil: none can.
// When ctx ends first, Drain ends all other requests as well and returns an error with their number.
func (p *Proxy) Drain(ctx context.Context, quiet <-chan struct{}) error {
	p.inFlight.Drain(ctx)
	p.streamsEnded.Store(true)
	p.table.stop(errShuttingDown, true)
	if quiet != nil {
		select {
		case <-quiet:
		case <-ctx.Done():
		}
	}
	cut := p.inFlight.Drain(ctx)
	p.inFlight.Close()
	p.requestsEnded.Store(true)
	p.table.stop(errShuttingDown, false)
	p.endWakes(errShuttingDown)

	// Handlers return soon after; those with a client that does not read take longest.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*abortGrace)
	defer cancel()
	stuck := p.inFlight.Empty(last)
	switch {
	case stuck > 0:
		return fmt.Errorf("drain: %d requests did not end after they were canceled", stuck)
	case cut > 0:
		return fmt.Errorf("drain: %d requests were cut off: %w", cut, context.Cause(ctx))
	}
	return nil
}

// join adds the call to its grant, so that it ends with the grant or when Drain ends all requests. It returns the cause if the
// grant has ended; otherwise the caller calls [grant.leave]. It takes no lock of the proxy: a call that joins after Drain has
// stopped the grant's calls finds requestsEnded set.
func (p *Proxy) join(c *call) error {
	if err := c.grant.join(c); err != nil {
		return err
	}
	if p.requestsEnded.Load() {
		c.stop(errShuttingDown)
	}
	return nil
}

// becomeStream marks the call as a stream, which Drain ends with the other streams.
func (p *Proxy) becomeStream(c *call) {
	c.becomeStream()
	if p.streamsEnded.Load() {
		c.stop(errShuttingDown)
	}
	p.inFlight.BecomeStream()
	p.access.StreamBegan(c.in.Context(), c.principal)
}
