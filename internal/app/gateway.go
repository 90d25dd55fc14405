package app

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/internal/access"
	"berth/internal/docker"
	"berth/internal/gateway"
	"berth/internal/gateway/model"
	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/telemetry"
)

// wayOut is the sessions' way out of their containers: the gateway, and where it is.
type wayOut struct {
	app     *App
	callers *gateway.Callers
	gateway *gateway.Gateway
	models  *model.Handler
	blocked *access.Limiter[session.ID] // of events in timelines
	events  chan gateway.Refusal        // for timelines

	mu    sync.Mutex
	known []docker.Gateway // empty: not known yet
}

var _ lifecycle.Gateway = (*wayOut)(nil)

// openGateway makes the gateway of sessions in containers. It listens once the engine's networks are known.
func (a *App) openGateway() (err error) {
	if a.engine == nil {
		return nil
	}
	w := &wayOut{
		app: a, callers: gateway.NewCallers(),
		blocked: access.NewLimiter[session.ID](blockedBurst, blockedEvery, mostBlocked), events: make(chan gateway.Refusal, mostEvents),
	}
	w.models, err = model.New(model.Options{
		Providers: modelSettings(a.cfg.Models).Providers, Meter: a.ledger, Logger: a.named("models"),
		Refused: func(ctx context.Context, caller session.Caller, rule, what string) {
			w.refused(ctx, gateway.Refusal{Session: caller.Session, Address: caller.Address.String(), Rule: rule, What: what})
		},
	})
	if err != nil {
		return err
	}
	a.onStop("models", func(context.Context) error { w.models.Close(); return nil })
	w.gateway = gateway.New(gateway.Options{Callers: w.callers, Models: w.models, Refused: w.refused, Logger: a.named("gateway")})
	a.gateway = w
	return nil
}

// places returns where containers reach the gateway, of which those of this machine are first asked for, and then remembered: the
// engine may not answer when Berth starts.
func (w *wayOut) places(ctx context.Context) ([]docker.Gateway, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) > 0 {
		return w.known, nil
	}
	known, err := w.app.engine.Gateways(ctx)
	if err != nil {
		return nil, err
	}
	w.known = known
	return known, nil
}

// absent reports whether it is known that the gateway cannot be on the engine's host, because Berth is not.
func (w *wayOut) absent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.known) > 0 && !w.known[0].Local
}

// Egress implements [lifecycle.Gateway].
func (w *wayOut) Egress(s session.Session, p session.Profile) (session.EgressMode, []string) {
	if p.Egress == "" && w.absent() {
		p.Egress = session.EgressOpen
	}
	return p.Narrowed(s.Shape, nil)
}

// Environment implements [lifecycle.Gateway].
func (w *wayOut) Environment(ctx context.Context, s session.Session, p session.Profile, token session.Secret) (map[string]string, error) {
	places, err := w.places(ctx)
	if err != nil {
		return nil, err
	}
	mode, _ := w.Egress(s, p)
	for _, place := range places {
		if place.Internal == (mode == session.EgressOpen) {
			continue
		}
		if place.Local {
			return w.environment(netip.AddrPortFrom(place.Address, gatewayPort), p, mode, token)
		}
		if mode != session.EgressOpen {
			return nil, session.Errorf(session.CodeInvalid, "sessions with egress %s need the gateway on the engine's host, and Berth runs elsewhere: "+
				"run Berth there, or set egress: open in the profile", mode)
		}
	}
	return map[string]string{}, nil
}

// environment returns the variables of a container that reaches the gateway at this address.
func (w *wayOut) environment(at netip.AddrPort, p session.Profile, mode session.EgressMode, token session.Secret) (map[string]string, error) {
	env := gateway.Environment(at, token)
	if mode == session.EgressListed {
		maps.Copy(env, gateway.ProxyEnvironment(at, token))
	}
	if p.ConfigEnv != "" {
		configuration, err := model.Configuration([]byte(p.Env[p.ConfigEnv]), gateway.URL(at), gateway.TokenVariable,
			modelSettings(w.app.live.Load().Models))
		if err != nil {
			return nil, session.Errorf(session.CodeInvalid, "the profile's %s: %v", p.ConfigEnv, err)
		}
		env[p.ConfigEnv] = string(configuration)
	}
	return env, nil
}

// Events of refusals in a session's timeline. All are in the log, and those of its share in the audit trail.
const (
	blockedBurst = 5
	blockedEvery = time.Minute
	mostBlocked  = 4096 // sessions
	mostEvents   = 64   // that wait for the store
)

// gatewayPort is the port of the gateway's HTTP listener.
const gatewayPort = 8081

// retryGateway is how long it takes until the gateway tries again what did not work.
const retryGateway = time.Second

// serve serves the sessions' networks until ctx ends.
func (w *wayOut) serve(ctx context.Context) error {
	places, err := w.await(ctx)
	if err != nil {
		return nil //nolint:nilerr // ctx has ended
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.app.cfg.Server.DrainTimeout.Duration())
		defer cancel()
		_ = w.gateway.Shutdown(ctx)
	}()
	log := w.app.named("gateway")
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { w.tell(ctx); return nil })
	for _, place := range places {
		if !place.Local {
			log.WarnContext(ctx, "the gateway is not on the engine's host: sessions have no models of the operator's, and reach what the host reaches",
				"network", place.Network)
			return nil
		}
		at := netip.AddrPortFrom(place.Address, gatewayPort)
		work.Go(func() error {
			l, err := w.listen(ctx, at)
			if err != nil {
				return nil //nolint:nilerr // ctx has ended
			}
			log.InfoContext(ctx, "gateway listens", "address", at.String(), "network", place.Network)
			return w.gateway.Serve(ctx, l)
		})
	}
	return work.Wait()
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

// listen listens once the address is free: another process of this installation may serve it, which knows the same sessions. The
// error is that of ctx.
func (w *wayOut) listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	said := false
	for {
		l, err := gateway.Listen(ctx, at)
		if err == nil {
			return l, nil
		}
		if !said && ctx.Err() == nil {
			w.app.named("gateway").WarnContext(ctx, "gateway not served by this process, trying again", "address", at.String(), "error", err)
			said = true
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

// refused records what the gateway has refused.
func (w *wayOut) refused(ctx context.Context, r gateway.Refusal) {
	ctx = telemetry.WithRequestID(ctx, telemetry.NewRequestID())
	w.app.named("gateway").DebugContext(ctx, "refused", "session_id", r.Session, "address", r.Address, "rule", r.Rule, "what", r.What)
	w.app.audit.RefusedEgress(ctx, r.Session, r.Address, r.Rule, r.What)
	if r.Session == "" || w.blocked.Take(r.Session) > 0 {
		return
	}
	select {
	case w.events <- r:
	default: // the store is slow, and nobody waits for a timeline
	}
}

// tell adds refusals to the timelines of sessions, until ctx ends.
func (w *wayOut) tell(ctx context.Context) {
	for {
		select {
		case r := <-w.events:
			if err := w.app.manager.Blocked(ownRequest(ctx), r.Session, r.What); err != nil {
				w.app.named("gateway").DebugContext(ctx, "refusal not added to the timeline", "session_id", r.Session, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}
