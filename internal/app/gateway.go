package app

import (
	"context"
	"maps"
	"net/netip"
	"sync/atomic"

	"berth/internal/access"
	"berth/internal/config"
	"berth/internal/docker"
	"berth/internal/gateway"
	"berth/internal/gateway/egress"
	"berth/internal/gateway/git"
	"berth/internal/gateway/model"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// wayOut is the sessions' way out of their containers: the gateway, and where it is.
type wayOut struct {
	app     *App
	callers *gateway.Callers
	gateway *gateway.Gateway
	models  *model.Handler
	git     *git.Service // nil: there are no git hosts
	policy  atomic.Pointer[egress.Policy]
	relay   atomic.Pointer[egress.Relay]     // nil while the network is not known
	blocked *access.Limiter[session.ID]      // of events in timelines
	events  chan gateway.Refusal             // for timelines
	known   atomic.Pointer[[]docker.Gateway] // nil: not known yet
}

var _ lifecycle.Gateway = (*wayOut)(nil)

// openGateway makes the gateway of sessions in containers. It listens once the engine's networks are known.
func (a *App) openGateway() (err error) {
	if a.engine == nil || !a.cfg.Gateway.Enabled {
		return nil
	}
	w := &wayOut{
		app:     a,
		blocked: access.NewLimiter[session.ID](blockedBurst, blockedEvery, mostBlocked), events: make(chan gateway.Refusal, mostEvents),
	}
	w.callers = gateway.NewCallers(w.gone)
	policy, err := a.cfg.Egress.Policy()
	if err != nil {
		return err
	}
	w.policy.Store(policy)
	w.models, err = model.New(model.Options{
		Providers: modelSettings(a.cfg.Models).Providers, Meter: a.ledger, Logger: a.named("models"),
		Refused: w.refusedTo,
	})
	if err != nil {
		return err
	}
	a.onStop("models", func(context.Context) error { w.models.Close(); return nil }) // also if it is never served
	if err := w.openGit(); err != nil {
		return err
	}
	opts := gateway.Options{Callers: w.callers, Models: w.models, Connect: gateway.ServiceFunc(w.connect), Refused: w.refused, Logger: a.named("gateway")}
	if w.git != nil {
		opts.Git = w.git
	}
	w.gateway = gateway.New(opts)
	a.gateway = w
	return nil
}

// places returns where containers reach the gateway, of which those of this machine are first asked for, and then remembered: the
// engine may not answer when Berth starts.
func (w *wayOut) places(ctx context.Context) ([]docker.Gateway, error) {
	if known := w.known.Load(); known != nil {
		return *known, nil
	}
	known, err := w.app.engine.Gateways(ctx)
	if err != nil {
		return nil, err
	}
	w.known.Store(&known)
	return known, nil
}

// covers reports whether lists and rules have everything that another one allows.
func (w *wayOut) covers(allow []string, rule string) bool {
	return w.policy.Load().Subset(allow, []string{rule}) == nil
}

// absent reports whether it is known that the gateway cannot be on the engine's host, because Berth is not. It never waits: routes are
// published with its answer.
func (w *wayOut) absent() bool {
	known := w.known.Load()
	return known != nil && !(*known)[0].Local
}

// Egress implements [lifecycle.Gateway].
func (w *wayOut) Egress(s session.Session, p session.Profile) (session.EgressMode, []string) {
	if p.Egress == "" && len(p.EgressAllow) == 0 && w.absent() {
		p.Egress = session.EgressOpen
	}
	return p.Narrowed(s.Shape, w.covers)
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
			return w.environment(w.at(place), p, mode, token)
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
	if w.git != nil {
		maps.Copy(env, git.Environment(gateway.URL(at), token, w.git.Hosts()))
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

// at is the address of the gateway's HTTP listener.
func (w *wayOut) at(place docker.Gateway) netip.AddrPort {
	return netip.AddrPortFrom(place.Address, uint16(w.app.cfg.Gateway.Port))
}

// reload replaces what can be changed while sessions use it.
func (w *wayOut) reload(c config.Config) error {
	policy, err := c.Egress.Policy()
	if err != nil {
		return err
	}
	if err := w.models.Replace(modelSettings(c.Models).Providers); err != nil {
		return err
	}
	w.policy.Store(policy)
	if relay := w.relay.Load(); relay != nil {
		relay.SetPolicy(policy)
	}
	return nil
}
