package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/internal/docker"
	"berth/internal/gateway"
	"berth/internal/gateway/egress"
	"berth/internal/session"
)

// Ports of the gateway for programs that do not know it. GATEWAY_PORT is that of the others.
const (
	portDNS  = 53
	portHTTP = 80
	portTLS  = 443
)

// retryGateway is how long it takes until the gateway tries again what did not work.
const retryGateway = time.Second

// serve serves the sessions' networks until ctx ends.
func (w *wayOut) serve(ctx context.Context) error {
	places, err := w.await(ctx)
	if err != nil {
		return nil
	}
	defer w.drain(context.WithoutCancel(ctx))
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { w.tell(ctx); return nil })
	var sessions []netip.Prefix
	for _, place := range places {
		sessions = append(sessions, place.Subnet)
	}
	for _, place := range places {
		if !place.Local {
			w.app.named("gateway").WarnContext(ctx, "the gateway is not on the engine's host: sessions have no models of the operator's, and reach what the host reaches",
				"network", place.Network)
			continue
		}
		w.serveOn(ctx, work, w.at(place), w.gateway.Serve)
		if !place.Internal {
			continue
		}
		at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(place.Address, port) }
		relay, err := w.newRelay(place, sessions)
		if err != nil {
			return err
		}
		w.relay.Store(relay)
		w.serveOn(ctx, work, at(portTLS), relay.ServeTLS)
		w.serveOn(ctx, work, at(portHTTP), relay.ServePlain)
		w.serveOn(ctx, work, at(portDNS), func(ctx context.Context, l net.Listener) error {
			udp, err := gateway.ListenPacket(ctx, at(portDNS))
			if err != nil {
				return errors.Join(err, l.Close())
			}
			return relay.ServeDNS(ctx, udp, l)
		})
	}
	return work.Wait()
}

// newRelay makes what carries the connections of listed sessions. Nobody reaches the networks of sessions by way of it.
func (w *wayOut) newRelay(place docker.Gateway, sessions []netip.Prefix) (*egress.Relay, error) {
	return egress.New(w.policy.Load(), egress.Options{
		Address:  place.Address,
		Identify: w.callers.At,
		Refused:  w.refusedTo,
		Dial:     egress.DialOptions{Sessions: sessions},
		Limits:   w.app.cfg.Egress.Limits(),
		Log:      w.app.named("gateway"),
	})
}

// connect serves requests for other hosts.
func (w *wayOut) connect(rw http.ResponseWriter, r *http.Request, caller session.Caller) {
	relay := w.relay.Load()
	switch {
	case relay == nil:
		http.Error(rw, "the gateway is starting; try again", http.StatusServiceUnavailable)
	case r.Method == http.MethodConnect:
		relay.Connect(rw, r, caller)
	default:
		relay.Forward(rw, r, caller)
	}
}

// gone ends what a session that may not use the gateway any more has open.
func (w *wayOut) gone(id session.ID) {
	if relay := w.relay.Load(); relay != nil {
		relay.Close(id)
	}
}

// serveOn serves an address of a network, once it is free: another process of this installation may serve it, which knows the
// same sessions.
func (w *wayOut) serveOn(ctx context.Context, work *errgroup.Group, at netip.AddrPort, serve func(context.Context, net.Listener) error) {
	log := w.app.named("gateway")
	work.Go(func() error {
		said := false
		for ctx.Err() == nil {
			l, err := gateway.Listen(ctx, at)
			if err == nil {
				log.InfoContext(ctx, "gateway listens", "address", at.String())
				err = serve(ctx, l)
			}
			if ctx.Err() != nil {
				return nil //nolint:nilerr // whatever ended it
			}
			if !said {
				log.WarnContext(ctx, "gateway not served by this process, trying again", "address", at.String(), "error", err)
				said = true
			}
			_ = wait(ctx, retryGateway)
		}
		return nil
	})
}

// drain lets requests in progress finish.
func (w *wayOut) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.app.cfg.Server.DrainTimeout.Duration())
	defer cancel()
	w.models.Close() // nobody waits for what is read to its end only to count it
	_ = w.gateway.Shutdown(ctx)
}

// await returns the places once the engine tells them. The error is that of ctx.
func (w *wayOut) await(ctx context.Context) ([]docker.Gateway, error) {
	said := ""
	for {
		places, err := w.places(ownRequest(ctx))
		if err == nil {
			return places, nil
		}
		if text := session.MessageOf(err); text != said && ctx.Err() == nil {
			w.app.named("gateway").WarnContext(ctx, "gateway not served yet, trying again", "error", err)
			said = text
		}
		if err := wait(ctx, retryGateway); err != nil {
			return nil, err
		}
	}
}

// wait waits, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
