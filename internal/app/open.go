package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"berth/internal/access"
	"berth/internal/config"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/probe"
	"berth/internal/process"
	"berth/internal/proxy"
	"berth/internal/proxy/policy"
	"berth/internal/session"
	"berth/internal/storage"
	"berth/internal/telemetry"
	"berth/internal/webhook"
)

func (a *App) named(part string) *slog.Logger { return telemetry.Named(a.log, "berth."+part) }

func (a *App) openStorage(ctx context.Context, dir storage.Dir) (err error) {
	if a.storage, err = storage.Open(ctx, a.cfg, dir, a.version, a.log); err != nil {
		return err
	}
	a.onStop("storage", func(context.Context) error { return a.storage.Close() })
	a.store = a.metrics.Store(a.storage.Store)
	a.keys, err = a.storage.Identity.Keys()
	return err
}

func (a *App) openAccess(ctx context.Context, admin session.Secret) error {
	tokens, err := access.OpenRegistry(ctx, access.RegistryOptions{Store: a.storage.Tokens, Keys: a.keys, Logger: a.named("access")})
	if err != nil {
		return err
	}
	options := access.Options{
		Keys: a.keys, Tokens: tokens, AdminToken: admin, TokenLength: a.cfg.Token.Length, Throttle: access.NewThrottle(), Trail: a.audit,
		Rejected: a.metrics.Unauthenticated,
	}
	if a.people != nil {
		options.People, options.Provider = a.people, a.peopleSettings()
	}
	a.access, err = access.New(options)
	return err
}

func (a *App) openRuntime(ctx context.Context, dir storage.Dir) error {
	open := a.openDocker
	if a.cfg.Session.Runtime == config.RuntimeProcess {
		open = func(ctx context.Context) (session.Runtime, error) { return a.openProcesses(ctx, dir) }
	}
	r, err := open(ctx)
	if err != nil {
		return err
	}
	a.runtime = a.metrics.Runtime(r, a.named(a.cfg.Session.Runtime), a.recordCall)
	return nil
}

func (a *App) openProcesses(ctx context.Context, dir storage.Dir) (session.Runtime, error) {
	path, err := dir.Processes()
	if err != nil {
		return nil, err
	}
	opts := process.Options{Dir: path, Instance: a.storage.Identity.Instance, Logger: a.named("process")}
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

func (a *App) openDocker(ctx context.Context) (session.Runtime, error) {
	e, err := openEngine(ctx, a.cfg, a.storage.Identity.Instance, a.log)
	if err != nil {
		return nil, err
	}
	a.onStop("docker runtime", func(context.Context) error { return e.Close() })
	a.engine = e
	return e, a.storage.Claim(ctx, e)
}

// profiles returns the configured profiles with their configuration in its variable. A process knows its workspace by another directory
// than a container does, so that the path which a profile gives for the workspace's page leads nowhere.
func (a *App) profiles() (map[string]session.Profile, error) {
	profiles := make(map[string]session.Profile, len(a.cfg.Profiles))
	for name, p := range a.cfg.Profiles {
		p, err := p.WithConfig()
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", name, err)
		}
		if a.cfg.Session.Runtime == config.RuntimeProcess {
			p.Landing = ""
		}
		profiles[name] = p
	}
	return profiles, nil
}

func (a *App) openManager(table *proxy.Table) (err error) {
	a.onStop("routes", func(context.Context) error { table.Close(); return nil })
	c := a.cfg
	send := func(lifecycle.Notice) {}
	if c.Webhook.URL != "" {
		sender, err := webhook.New(webhook.Options{URL: c.Webhook.URL.Reveal(), Secret: c.Webhook.Secret, Logger: a.named("webhook")})
		if err != nil {
			return err
		}
		a.webhook, send = sender, sender.Notify
	}
	var wayOut lifecycle.Gateway
	var covers func(allow []string, rule string) bool
	if a.gateway != nil {
		wayOut, covers = a.gateway, a.gateway.covers
	}
	images, err := session.ParseImagePatterns(c.Session.AllowedImages)
	if err != nil {
		return err
	}
	profiles, err := a.profiles()
	if err != nil {
		return err
	}
	a.manager, err = lifecycle.NewManager(a.store, a.runtime, probe.New(), a.routes(table), a.keys, lifecycle.Options{
		Profiles: profiles, DefaultProfile: c.Session.Profile,
		Limits: c.Limits.Default(), MaxLimits: c.Limits.Most(), Images: images,
		MaxSessions:  c.Limits.MaxSessions,
		MaxPerOwner:  c.Limits.MaxPerOwner,
		TokenLife:    c.Token.Expiry(),
		SignInLife:   a.signInLife(),
		DeviceLife:   time.Duration(c.Session.DeviceDays) * 24 * time.Hour,
		SweepEvery:   time.Duration(c.Token.CleanupIntervalMinutes) * time.Minute,
		StartTimeout: c.Session.StartTimeout.Duration(), CloneTimeout: c.Session.CloneTimeout.Duration(), StopTimeout: c.Session.StopTimeout.Duration(),
		ReconcileEvery: c.Session.ReconcileInterval.Duration(), OrphanGrace: c.Session.OrphanGrace.Duration(), Hold: a.storage.Hold,
		IdleTimeout: time.Duration(c.Session.IdleTimeoutMinutes) * time.Minute,
		MaxLifetime: time.Duration(c.Session.MaxLifetimeHours) * time.Hour, MaxBusy: time.Duration(c.Session.MaxBusyHours) * time.Hour,
		Health: lifecycle.HealthOptions{
			CheckEvery: c.Health.CheckInterval.Duration(), Timeout: c.Health.Timeout.Duration(), Threshold: c.Health.FailureThreshold,
			MaxRestarts: c.Health.MaxRestarts, RestartDelay: c.Health.RestartDelay.Duration(),
		},
		Admission: a.host.pressure,
		Process:   a.storage.Process, Peers: a.storage.Peers, Feed: a.storage.Feed,
		Gateway: wayOut,
		Covers:  covers,
		Sink:    a.sink(send),
		Tracer:  ownRequests{},
		Logger:  a.named("session"),
	})
	return err
}

// sink passes on the manager's events.
func (a *App) sink(send func(lifecycle.Notice)) lifecycle.Sink {
	return lifecycle.SinkFunc(func(ctx context.Context, r lifecycle.Report) {
		switch {
		case r.Operation != nil:
			a.metrics.Operation(*r.Operation)
			a.recordOperation(ctx, *r.Operation)
		case r.Notice != nil:
			a.metrics.Incident(*r.Notice)
			send(*r.Notice)
		case r.Rejected != nil:
			a.metrics.Rejected(r.Rejected)
		case r.Swept > 0:
			a.metrics.TokensSwept(r.Swept)
		}
	})
}

func (a *App) openProxy(table *proxy.Table) (err error) {
	pool := a.cfg.HTTPPool
	a.proxy, err = proxy.New(proxy.Options{
		Table: table, Access: a.access, Logger: a.named("proxy"),
		Origins: a.origins, Ports: a.proxyPorts(), MaxBody: int64(a.cfg.Proxy.MaxBodySize),
		Transport: proxy.Transport{
			MaxKeepaliveConnections: pool.MaxKeepaliveConnections, MaxConnections: pool.MaxConnections,
			KeepaliveExpiry: pool.KeepaliveExpiry.Duration(), ConnectTimeout: pool.ConnectTimeout.Duration(),
			ReadTimeout: pool.ReadTimeout.Duration(),
		},
		MaxConnections: a.descriptors.Upstreams, MaxRequests: a.descriptors.Requests,
		CrossOrigins: append(a.cfg.Session.CORSOrigins(), policy.DesktopOrigins...),
		SignIns:      a.manager,
		SignInLife:   a.signInLife(),
		OpenURL:      a.openURL(),
		Devices:      a.cfg.Session.Devices,
		Touch:        a.manager.Touch,
		Wake:         a.manager.Wake,
		Progress:     a.manager.Progress,
		WakeTimeout:  a.cfg.Session.WakeTimeout.Duration(),
		MayLog:       a.logShares.MayLog, Observe: a.metrics.Proxied, DialFailed: a.dialFailed, WriteProblem: httpapi.WriteProblem, RequestID: func(r *http.Request) string { return telemetry.RequestID(r.Context()) },
	})
	return err
}

// ownRequest gives background work a request ID, by which all its log lines and records can be found.
func ownRequest(ctx context.Context) context.Context {
	return telemetry.WithRequestID(ctx, telemetry.NewRequestID())
}

// ownRequests gives each piece of the manager's background work a request ID.
type ownRequests struct{}

// Start implements [lifecycle.Tracer].
func (ownRequests) Start(ctx context.Context) context.Context { return ownRequest(ctx) }

// signInLife is how long a browser stays signed in to a session.
func (a *App) signInLife() time.Duration { return time.Duration(a.cfg.Session.SignInHours) * time.Hour }
