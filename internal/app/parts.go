package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"berth/internal/config"
	"berth/internal/docker"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/probe"
	"berth/internal/process"
	"berth/internal/proxy"
	"berth/internal/session"
	"berth/internal/telemetry"
	"berth/internal/webhook"
)

func (a *App) named(part string) *slog.Logger { return telemetry.Named(a.log, "berth."+part) }

func (a *App) openRuntime(ctx context.Context, s state, instance string) (session.Runtime, error) {
	if a.cfg.Session.Runtime == config.RuntimeProcess {
		if err := s.notACopy(); err != nil {
			return nil, err
		}
		opts := process.Options{Dir: s.path(processDir), Instance: instance, Logger: a.named("process")}
		if a.cfg.Session.ProcessCommand != "" {
			opts.Command = a.cfg.ActiveProfile().Command
		}
		r, err := process.Open(ctx, opts)
		if err != nil {
			return nil, err
		}
		a.onStop("process runtime", func(context.Context) error { return r.Close() })
		return r, nil
	}
	r, err := a.openDocker(ctx, instance)
	if err != nil {
		return nil, err
	}
	a.renewEngine, a.engineRoot = r.Renew, r.Engine().RootDir
	if a.owner, err = a.claimEngine(ctx, s, r, a.storage, false); err != nil {
		return nil, err
	}
	a.neighbours = &neighbours{runtime: r, asker: a.owner.owner, own: instance, state: s, log: a.log}
	return r, nil
}

// openDocker connects to the engine on behalf of an installation.
func (a *App) openDocker(ctx context.Context, instance string) (*docker.Runtime, error) {
	d := a.cfg.Docker
	transport, err := a.engineTLS(ctx)
	if err != nil {
		return nil, err
	}
	var reach func(context.Context, netip.AddrPort) netip.AddrPort
	if a.detector = newDetector(d); a.detector != nil {
		reach = a.detector.Reach
	}
	r, err := docker.Open(ctx, docker.Options{
		Host: d.Host, TLS: transport, Instance: instance, Network: d.Network, PublishIP: a.cfg.Session.PublishIP,
		Route: a.cfg.Session.Route, Reach: reach,
		MaxOperations: d.MaxOperations, Sequential: !d.Async, OperationTimeout: d.OperationTimeout.Duration(),
		Logger: a.named("docker"),
	})
	if err != nil {
		return nil, err
	}
	a.onStop("docker runtime", func(context.Context) error { return r.Close() })
	return r, nil
}

func (a *App) newManager(routes session.Routes, keys session.Keys) (*lifecycle.Manager, error) {
	c := a.cfg
	send := func(lifecycle.Notice) {}
	if c.Webhook.URL != "" {
		sender, err := webhook.New(webhook.Options{URL: c.Webhook.URL.Reveal(), Secret: c.Webhook.Secret, Logger: a.named("webhook")})
		if err != nil {
			return nil, err
		}
		a.webhook, send = sender, sender.Notify
	}
	return lifecycle.NewManager(a.storage.store, a.runtime, probe.New(), routes, keys, lifecycle.Options{
		Profiles: c.Profiles, DefaultProfile: c.Session.Profile,
		Limits:      session.Limits{Memory: c.Limits.Memory, CPUQuota: c.Limits.CPUQuota, CPUPeriod: c.Limits.CPUPeriod, PIDs: c.Limits.PIDs},
		MaxSessions: c.Limits.MaxSessions,
		TokenLength: c.Token.Length, TokenLife: c.Token.Expiry(),
		SweepEvery: time.Duration(c.Token.CleanupIntervalMinutes) * time.Minute, Swept: func(n int) { a.gate.swept.Add(float64(n)) },
		StartTimeout: c.Session.StartTimeout.Duration(), StopTimeout: c.Session.StopTimeout.Duration(),
		ReconcileEvery: c.Session.ReconcileInterval.Duration(), OrphanGrace: c.Session.OrphanGrace.Duration(), Hold: a.storage.hold,
		IdleTimeout: time.Duration(c.Session.IdleTimeoutMinutes) * time.Minute,
		MaxLifetime: time.Duration(c.Session.MaxLifetimeHours) * time.Hour, MaxBusy: time.Duration(c.Session.MaxBusyHours) * time.Hour,
		Health: lifecycle.HealthOptions{
			CheckEvery: c.Health.CheckInterval.Duration(), Timeout: c.Health.Timeout.Duration(), Threshold: c.Health.FailureThreshold,
			MaxRestarts: c.Health.MaxRestarts, RestartDelay: c.Health.RestartDelay.Duration(),
		},
		Admit: a.pressure.monitor.Admit, Refused: a.pressure.refused,
		Process: a.storage.process, Peers: a.storage.peers, Feed: a.storage.feed,
		Notify: func(n lifecycle.Notice) {
			a.measures.incidents.WithLabelValues(string(n.What), string(n.Cause)).Inc()
			send(n)
		},
		Observe: func(ctx context.Context, p lifecycle.Performance) {
			a.measures.operation(p)
			a.trail.performed(ctx, p)
		},
		Background: ownRequest,
		Logger:     a.named("session"),
	})
}

func (a *App) newProxy(table *proxy.Table, keys session.Keys) (*proxy.Proxy, error) {
	pool := a.cfg.HTTPPool
	return proxy.New(proxy.Options{
		Table: table, Keys: keys, Logger: a.named("proxy"),
		MaxBody: int64(a.cfg.Proxy.MaxBodySize), TrustForwardedProto: true, // [App.identified] removes what is not believed
		Transport: proxy.Transport{
			MaxKeepaliveConnections: pool.MaxKeepaliveConnections, MaxConnections: pool.MaxConnections,
			KeepaliveExpiry: pool.KeepaliveExpiry.Duration(), ConnectTimeout: pool.ConnectTimeout.Duration(),
			ReadTimeout: pool.ReadTimeout.Duration(),
		},
		Refused: attempts{a.gate, a.trail.refusals, surfaceProxy}.proxied, Authenticated: a.trail.visited,
		MaxConnections: a.descriptors.upstreams, MaxRequests: a.descriptors.requests,
		Touch: a.manager.Touch, Wake: a.manager.Wake, WakeTimeout: a.cfg.Session.WakeTimeout.Duration(),
		Observe: a.measures.proxied, DialFailed: a.dialFailed, WriteProblem: httpapi.WriteProblem, RequestID: requestID,
	})
}

// Limits of the HTTP server. There is no write time-out and none for bodies: an agent's turn or a stream may last for
// hours.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

func (a *App) newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: timed(a.identified(a.closing(handler))), ConnState: a.connections.note, ConnContext: withConn, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(a.named("http").Handler(), slog.LevelDebug),
	}
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s; set BERTH_LISTEN to another address if it is taken: %w", address, err)
	}
	return l, nil
}
