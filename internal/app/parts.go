package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/config"
	"berth/internal/docker"
	"berth/internal/health"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/metrics"
	"berth/internal/probe"
	"berth/internal/process"
	"berth/internal/proxy"
	"berth/internal/server"
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
	return lifecycle.NewManager(a.store, a.runtime, probe.New(), routes, keys, lifecycle.Options{
		Profiles: c.Profiles, DefaultProfile: c.Session.Profile,
		Limits:      session.Limits{Memory: c.Limits.Memory, CPUQuota: c.Limits.CPUQuota, CPUPeriod: c.Limits.CPUPeriod, PIDs: c.Limits.PIDs},
		MaxSessions: c.Limits.MaxSessions,
		TokenLength: c.Token.Length, TokenLife: c.Token.Expiry(),
		SweepEvery:   time.Duration(c.Token.CleanupIntervalMinutes) * time.Minute,
		StartTimeout: c.Session.StartTimeout.Duration(), StopTimeout: c.Session.StopTimeout.Duration(),
		ReconcileEvery: c.Session.ReconcileInterval.Duration(), OrphanGrace: c.Session.OrphanGrace.Duration(), Hold: a.storage.hold,
		IdleTimeout: time.Duration(c.Session.IdleTimeoutMinutes) * time.Minute,
		MaxLifetime: time.Duration(c.Session.MaxLifetimeHours) * time.Hour, MaxBusy: time.Duration(c.Session.MaxBusyHours) * time.Hour,
		Health: lifecycle.HealthOptions{
			CheckEvery: c.Health.CheckInterval.Duration(), Timeout: c.Health.Timeout.Duration(), Threshold: c.Health.FailureThreshold,
			MaxRestarts: c.Health.MaxRestarts, RestartDelay: c.Health.RestartDelay.Duration(),
		},
		Admit:   a.host.pressure.Admit,
		Process: a.storage.process, Peers: a.storage.peers, Feed: a.storage.feed,
		Sink:       a.sink(send),
		Background: ownRequest,
		Logger:     a.named("session"),
	})
}

// sink passes on what the manager tells of.
func (a *App) sink(send func(lifecycle.Notice)) lifecycle.Sink {
	return lifecycle.SinkFunc(func(ctx context.Context, r lifecycle.Report) {
		switch {
		case r.Operation != nil:
			a.metrics.Operation(*r.Operation)
			a.trail.performed(ctx, *r.Operation)
		case r.Notice != nil:
			a.metrics.Incident(*r.Notice)
			send(*r.Notice)
		case r.Rejected != nil:
			a.metrics.Rejected(r.Rejected)
		case r.Swept > 0:
			a.gate.swept.Add(float64(r.Swept))
		}
	})
}

func (a *App) newProxy(table *proxy.Table, keys session.Keys) (*proxy.Proxy, error) {
	pool := a.cfg.HTTPPool
	return proxy.New(proxy.Options{
		Table: table, Keys: keys, Logger: a.named("proxy"),
		MaxBody: int64(a.cfg.Proxy.MaxBodySize), TrustForwardedProto: true, // [App.client] removes what is not believed
		Transport: proxy.Transport{
			MaxKeepaliveConnections: pool.MaxKeepaliveConnections, MaxConnections: pool.MaxConnections,
			KeepaliveExpiry: pool.KeepaliveExpiry.Duration(), ConnectTimeout: pool.ConnectTimeout.Duration(),
			ReadTimeout: pool.ReadTimeout.Duration(),
		},
		Refused: attempts{a.gate, a.trail.refusals, surfaceProxy}.proxied, Authenticated: a.trail.visited,
		MaxConnections: a.descriptors.Upstreams, MaxRequests: a.descriptors.Requests,
		Touch: a.manager.Touch, Wake: a.manager.Wake, WakeTimeout: a.cfg.Session.WakeTimeout.Duration(),
		Observe: a.metrics.Proxied, DialFailed: a.dialFailed, WriteProblem: httpapi.WriteProblem, RequestID: func(r *http.Request) string { return telemetry.RequestID(r.Context()) },
	})
}

// openServer opens the listener, publishes its address for the command line on this machine, and makes the server.
func (a *App) openServer(ctx context.Context, s state, handler http.Handler) error {
	listener := a.around.listener
	if listener == nil {
		var err error
		if listener, err = server.Listen(ctx, a.cfg.Server.Listen); err != nil {
			return err
		}
	}
	a.server = server.New(server.Options{
		Listener: listener, Handler: handler, Client: a.client, MaxConnections: a.descriptors.Clients, Draining: a.draining,
		Logger: a.named("http"),
	})
	a.onStop("listener", func(context.Context) error { return a.server.Close() })
	a.publishAddress(ctx, s)
	return nil
}

// client puts the client's address into a request, and into the context of what is done for it.
func (a *App) client(r *http.Request) context.Context {
	a.proxies.applyForwarded(r, a.cfg.Proxy.TrustForwardedProto)
	return withRemote(r.Context(), r.RemoteAddr)
}

// ownRequest gives what Berth does of its own accord an ID as well, so that everything that belongs to it is found by it.
func ownRequest(ctx context.Context) context.Context {
	return telemetry.WithRequestID(ctx, telemetry.NewRequestID())
}

// registerMetrics registers what is measured at each scrape.
func (a *App) registerMetrics(r prometheus.Registerer) {
	r.MustRegister(
		metrics.Process(a.version, func() int { return a.live.Load().Limits.MaxSessions },
			func(ctx context.Context) string { return a.health.Report(ctx).Status }, a.audit.Load),
		metrics.Sessions(a.store.Count, a.manager.Healths, a.proxy.Load), metrics.StoreStates(a.storeState),
		metrics.Host(a.host.pressure), metrics.Disks(a.host.disks), metrics.Workspaces(a.host.workspaces), a.gate.failures, a.gate.swept,
	)
	if a.engine != nil {
		r.MustRegister(metrics.Certificates(a.engine.Expiries))
	}
}

// storeState is how the store is now.
func (a *App) storeState() metrics.StoreState {
	s := metrics.StoreState{Up: health.Ping(context.Background(), a.store.Ping) == nil}
	if db := a.storage.database; db != nil {
		s.Database, s.Notified = true, db.store.NotificationFault() == ""
		if db.failover != nil {
			f := db.failover.Status()
			s.Degraded, s.Pending = f.Degraded, f.Pending
		}
	}
	return s
}

func (a *App) newHealth() *health.Reporter {
	r := &health.Reporter{
		Config: a.cfg, Limits: func() config.Limits { return a.live.Load().Limits }, Ready: a.ready, Store: a.store, Backend: a.storage,
		ForeignSessions: a.neighbours.fault, Engine: a.runtime, EngineElsewhere: a.host.engineElsewhere, Manager: a.manager, Proxy: a.proxy,
		Pressure: a.host.pressure, Disks: a.host.disks, Workspaces: a.host.workspaces, SecurityCheck: a.audit.Load,
	}
	if a.engine != nil {
		r.Certificates = a.engine.Expiries
	}
	return r
}

// instances lists the processes that serve the same sessions, this one alone where they are in a file.
func (a *App) instances() []httpapi.Instance {
	if all := a.storage.Instances(); all != nil {
		return all
	}
	hostname, _ := os.Hostname() // for people; empty will do
	return []httpapi.Instance{{
		ID: "self", Address: a.Addr().String(), Hostname: hostname, Version: a.version, StartedAt: a.begun, SeenAt: time.Now().UTC(),
		Alive: true, Self: true,
	}}
}
