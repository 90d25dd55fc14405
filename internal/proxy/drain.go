package proxy

import (
	"context"
	"fmt"

	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// errShuttingDown is what requests get that come after Drain has ended, and the cause by which it ends streams.
var errShuttingDown = session.Errorf(session.CodeShuttingDown, "Berth is stopping; try again in a moment").After(policy.NotRunningRetry)

// InFlight returns how many requests are being served, streams included.
func (p *Proxy) InFlight() int {
	all, _ := p.inFlight.Count()
	return all
}

// Drain waits for the requests in flight, and then ends what never ends by itself: event streams and WebSockets. Who comes
// meanwhile is served: a request on a connection that was open already cannot know. When quiet is closed nobody can come
// any more; nil: nobody can. When ctx ends first it ends the rest as well and says how many requests that cut off.
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

	// Handlers return as soon as they notice; the longest are those whose client does not read.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*abortGrace)
	defer cancel()
	stuck := p.inFlight.Empty(last)
	switch {
	case stuck > 0:
		return fmt.Errorf("drain: %d requests did not end when they were told to", stuck)
	case cut > 0:
		return fmt.Errorf("drain: %d requests were cut off: %w", cut, context.Cause(ctx))
	}
	return nil
}

// join has the call end with its grant, or when Drain ends all requests. It returns the cause if that has happened already;
// otherwise [grant.leave] is to follow. No lock of the proxy is taken: whoever joins after Drain has looked at the grant
// sees that requests have ended.
func (p *Proxy) join(c *call) error {
	if err := c.grant.join(c); err != nil {
		return err
	}
	if p.requestsEnded.Load() {
		c.stop(errShuttingDown)
	}
	return nil
}

// becomeStream says that the call has turned out to be a stream, which ends with all others.
func (p *Proxy) becomeStream(c *call) {
	c.becomeStream()
	if p.streamsEnded.Load() {
		c.stop(errShuttingDown)
	}
	p.inFlight.BecomeStream()
	p.access.StreamBegan(c.in.Context(), c.principal)
}
