package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"berth/internal/config"
	"berth/internal/docker"
	"berth/internal/httpapi"
	"berth/internal/jsonfile"
	"berth/internal/probe"
	"berth/internal/process"
	"berth/internal/proxy"
	"berth/internal/session"
	"berth/internal/telemetry"
)

func (a *App) named(part string) *slog.Logger { return telemetry.Named(a.log, "berth."+part) }

func (a *App) openStore(s state) (session.Store, error) {
	store, err := jsonfile.Open(s.path(storeFile), jsonfile.Options{Logger: a.named("jsonfile")})
	if err != nil {
		return nil, err
	}
	a.onStop("store", func(context.Context) error { return store.Close() })
	return store, nil
}

func (a *App) openRuntime(ctx context.Context, s state, instance string) (session.Runtime, error) {
	if a.cfg.Session.Runtime == config.RuntimeProcess {
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
	d := a.cfg.Docker
	transport, err := a.engineTLS(ctx)
	if err != nil {
		return nil, err
	}
	r, err := docker.Open(ctx, docker.Options{
		Host: d.Host, TLS: transport, Instance: instance, Network: d.Network, PublishIP: a.cfg.Session.PublishIP,
		MaxOperations: d.MaxOperations, Sequential: !d.Async, OperationTimeout: d.OperationTimeout.Duration(),
		Logger: a.named("docker"),
	})
	if err != nil {
		return nil, err
	}
	a.renewEngine = r.Renew
	a.onStop("docker runtime", func(context.Context) error { return r.Close() })
	return r, nil
}

func (a *App) newManager(routes session.Routes, keys session.Keys) (*session.Manager, error) {
	c := a.cfg
	return session.NewManager(a.store, a.runtime, probe.New(), routes, keys, session.Options{
		Profiles: c.Profiles, DefaultProfile: c.Session.Profile,
		Limits:      session.Limits{Memory: c.Limits.Memory, CPUQuota: c.Limits.CPUQuota, CPUPeriod: c.Limits.CPUPeriod, PIDs: c.Limits.PIDs},
		MaxSessions: c.Limits.MaxSessions,
		TokenLength: c.Token.Length, TokenLife: c.Token.Expiry(),
		StartTimeout: c.Session.StartTimeout.Duration(), StopTimeout: c.Session.StopTimeout.Duration(),
		ReconcileEvery: c.Session.ReconcileInterval.Duration(), OrphanGrace: c.Session.OrphanGrace.Duration(),
		Exclusive: true, // the file store admits one process
		Logger:    a.named("session"),
	})
}

func (a *App) newProxy(table *proxy.Table, keys session.Keys) (*proxy.Proxy, error) {
	pool := a.cfg.HTTPPool
	return proxy.New(proxy.Options{
		Table: table, Keys: keys, Logger: a.named("proxy"),
		MaxBody: int64(a.cfg.Proxy.MaxBodySize), TrustForwardedProto: a.cfg.Proxy.TrustForwardedProto,
		Transport: proxy.Transport{
			MaxKeepaliveConnections: pool.MaxKeepaliveConnections, MaxConnections: pool.MaxConnections,
			KeepaliveExpiry: pool.KeepaliveExpiry.Duration(), ConnectTimeout: pool.ConnectTimeout.Duration(),
		},
		Touch: a.manager.Touch, WriteProblem: httpapi.WriteProblem, RequestID: requestID,
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
		Handler: timed(a.identified(handler)), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
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

// health is the operator's view. Counting asks the store and the engine once each.
func (a *App) health(ctx context.Context) httpapi.Health {
	limits, pool := a.cfg.Limits, a.cfg.HTTPPool
	h := httpapi.Health{
		Audit:  a.audit.Load(),
		Status: "healthy", StorageBackend: "json",
		Runtime:      &httpapi.RuntimeHealth{Kind: a.cfg.Session.Runtime, Status: "healthy"},
		Certificates: a.certificates(),
		ResourceLimits: &httpapi.ResourceLimits{
			MemoryLimit: limits.Memory, CPUQuota: limits.CPUQuota, MaxConcurrentSessions: limits.MaxSessions,
		},
		Pool: &httpapi.Pool{Status: "healthy", Config: httpapi.PoolConfig{
			MaxKeepaliveConnections: pool.MaxKeepaliveConnections, MaxConnections: pool.MaxConnections,
			KeepaliveExpiry: pool.KeepaliveExpiry.Duration().Seconds(),
		}},
	}
	page, err := a.store.List(ctx, session.Query{})
	if err == nil {
		err = a.bounded(ctx, a.store.Ping)
	}
	if err != nil || a.ready() != nil {
		h.Status = "unhealthy"
	} else if a.bounded(ctx, a.runtime.Ping) != nil {
		h.Status = "degraded" // running sessions are still served
		h.Runtime.Status = "unhealthy"
	}
	h.Sessions = map[session.Status]int{}
	for _, status := range session.Statuses() {
		h.Sessions[status] = 0
	}
	for _, s := range page.Sessions {
		h.Sessions[s.Status]++
	}
	return h
}

// healthTimeout bounds each question that /health asks.
const healthTimeout = 2 * time.Second

func (a *App) bounded(ctx context.Context, ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return ping(ctx)
}
