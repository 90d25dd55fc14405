package app

import (
	"context"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/config"
	"berth/internal/doctor"
	"berth/internal/health"
	"berth/internal/httpapi"
	"berth/internal/metrics"
	"berth/internal/pki"
	"berth/internal/storage"
)

// registerMetrics registers what is measured at each scrape.
func (a *App) registerMetrics(r prometheus.Registerer) {
	r.MustRegister(
		metrics.Process(a.version, func() int { return a.live.Load().Limits.MaxSessions },
			func(ctx context.Context) string { return a.health.Report(ctx).Status }, a.securityCheck.Load),
		metrics.Sessions(a.store.Count, a.manager.Healths, a.proxy.Load),
		metrics.Storage(func() bool { return health.Ping(context.Background(), a.store.Ping) == nil }, a.storage.State),
		metrics.Host(a.host.pressure), metrics.Disks(a.host.disks), metrics.Workspaces(a.host.workspaces),
	)
	if a.hasCertificates() {
		r.MustRegister(metrics.Certificates(a.expiries))
	}
}

func (a *App) newHealth() *health.Reporter {
	r := &health.Reporter{
		Config: a.cfg, Limits: func() config.Limits { return a.live.Load().Limits }, Ready: a.ready, Store: a.store, Storage: a.storage,
		Engine: a.runtime, EngineElsewhere: a.host.engineElsewhere, Manager: a.manager, Proxy: a.proxy,
		Pressure: a.host.pressure, Disks: a.host.disks, Workspaces: a.host.workspaces, SecurityCheck: a.securityCheck.Load,
	}
	if a.hasCertificates() {
		r.Certificates = a.expiries
	}
	return r
}

func (a *App) hasCertificates() bool {
	return a.engine != nil && a.engine.certificates != nil || a.certificates != nil
}

// expiries are the ends of the certificates of the engine's connection and of the listener.
func (a *App) expiries() (all []pki.Expiry) {
	if a.engine != nil && a.engine.certificates != nil {
		all = a.engine.certificates.Client.Expiries()
	}
	if a.certificates != nil {
		all = append(all, a.certificates.Expiries()...)
	}
	return all
}

// instances lists the processes that serve the same sessions; with sessions in a file, only this one.
func (a *App) instances() []httpapi.Instance {
	if all := a.storage.Instances(); all != nil {
		return all
	}
	hostname, _ := os.Hostname() // informative only; may be empty
	return []httpapi.Instance{{
		ID: "self", Address: a.Addr().String(), Hostname: hostname, Version: a.version, StartedAt: a.begun, SeenAt: time.Now().UTC(),
		Alive: true, Self: true,
	}}
}

// doctorOptions are the options of the security check.
func (a *App) doctorOptions() (doctor.Options, func()) {
	options, done := doctor.FromConfig(a.cfg)
	options.Instance, options.Credentials = storage.InstanceOf(a.cfg.Server.StateDir), os.Getenv("CREDENTIALS_DIRECTORY")
	return options, done
}
