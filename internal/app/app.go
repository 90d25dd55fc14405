// Package app wires Berth: it opens what the configuration asks for, runs it, and closes it again. It is the only package
// that knows more than one adapter. It does not know flags and signals.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"berth/internal/access"
	"berth/internal/acme"
	"berth/internal/config"
	"berth/internal/doctor"
	"berth/internal/health"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/metrics"
	"berth/internal/origin"
	"berth/internal/proxy"
	"berth/internal/server"
	"berth/internal/servertls"
	"berth/internal/session"
	"berth/internal/sessionport"
	"berth/internal/storage"
	"berth/internal/telemetry"
	"berth/internal/usage"
	"berth/internal/webhook"
)

// App is one running Berth. Make it with [New], run it with [App.Run], and always close it with [App.Stop].
type App struct {
	cfg     config.Config
	log     *slog.Logger
	version string
	begun   time.Time
	around  processOptions

	storage        *storage.Storage
	store          *metrics.Store // of the storage, measured
	keys           access.Keys
	engine         *engine // nil: sessions are processes
	runtime        session.Runtime
	ledger         *usage.Ledger
	gateway        *wayOut // nil: sessions are processes
	host           hostMonitors
	manager        *lifecycle.Manager
	webhook        *webhook.Sender // nil: no notifications are sent
	listen         net.Listener
	origins        *origin.Set
	ports          *sessionport.Ports // nil: no session has a port of its own
	proxy          *proxy.Proxy
	server         *server.Server
	redirect       *server.Server          // from plain HTTP; nil: none
	redirectSocket net.Listener            // nil: none
	certificates   *servertls.Certificates // of the listener; nil: it speaks plain HTTP
	issuer         *acme.Manager           // of certificates without files; nil: none
	metrics        *metrics.Metrics
	health         *health.Reporter
	audit          *access.Trail
	people         *people // nil: there is no identity provider
	access         *access.Authority
	proxies        access.Proxies

	descriptors server.Descriptors
	logShares   *server.LogShares
	live        atomic.Pointer[config.Config] // cfg with the settings that were reloaded since
	reloading   sync.Mutex

	reconciled    atomic.Bool   // the routes have been pushed
	known         chan struct{} // closed when reconciled is set for the first time
	securityCheck atomic.Pointer[httpapi.SecurityCheck]
	draining      chan struct{} // closed when the shutdown begins
	stopOnce      sync.Once
	stopErr       error
	undo          []undo // one for each resource that was opened, oldest first
}

// undo closes one resource that New opened.
type undo struct {
	name  string
	close func(context.Context) error
}

// New opens everything: state directory, store, runtime, listener. When one of them cannot be opened, New closes the rest
// and returns an error that says what to do. Nothing is served before [App.Run].
func New(ctx context.Context, cfg config.Config, version string, log *slog.Logger, options ...Option) (*App, error) {
	a := &App{
		cfg: cfg, log: log, version: version, begun: time.Now().UTC(), known: make(chan struct{}), draining: make(chan struct{}),
		descriptors: server.OwnDescriptors(), logShares: server.NewLogShares(),
	}
	a.live.Store(&cfg)
	for _, option := range options {
		option(&a.around)
	}
	for _, warning := range cfg.Warnings() {
		log.WarnContext(ctx, "questionable setting", "warning", warning)
	}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.closeAll(context.WithoutCancel(ctx)))
	}
	return a, nil
}

// open opens the parts in their order.
func (a *App) open(ctx context.Context) error {
	dir, err := storage.OpenDir(a.cfg.Server.StateDir)
	if err != nil {
		return err
	}
	admin, err := dir.AdminToken(a.cfg)
	if err != nil {
		return err
	}
	registry := telemetry.NewRegistry()
	a.metrics = metrics.New(registry)
	table := proxy.NewTable()
	for _, open := range []func() error{
		func() (err error) { a.proxies, err = a.cfg.Server.Proxies(); return err },
		a.openTrail,
		func() error { return a.openStorage(ctx, dir) },
		a.openPeople,
		func() error { return a.openAccess(ctx, admin) },
		func() error { return a.openRuntime(ctx, dir) },
		func() error { return a.openHost(ctx) },
		func() error { return a.openPorts(dir) },
		a.openUsage,
		a.openGateway,
		func() error { return a.openManager(table) },
		a.openWorkspaces,
		func() error { return a.openListener(ctx, dir) },
		func() error { return a.openProxy(table) },
	} {
		if err := open(); err != nil {
			return err
		}
	}
	a.health = a.newHealth()
	a.registerMetrics(registry)
	api, err := a.newAPI(table, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	if err != nil {
		return err
	}
	a.openServer(ctx, dir, a.proxy.Before(server.LogRequests(api.Handler(), a.named("httpapi"), a.logShares)))
	return nil
}

// Addr is the address that requests are served on.
func (a *App) Addr() net.Addr { return a.server.Addr() }

// Run serves until ctx ends, and returns nil then; an error names the part that failed. Call Stop in either case.
func (a *App) Run(ctx context.Context) error {
	watchdogCtx, stopWatchdog := context.WithCancel(context.WithoutCancel(ctx)) // also while it drains
	var watchdog sync.WaitGroup
	defer watchdog.Wait()
	defer stopWatchdog()
	watchdog.Go(func() { a.sendWatchdog(watchdogCtx) })
	work, ctx := errgroup.WithContext(ctx)
	leave := a.storage.Run(ctx, work, a.manager.PeersChanged)
	work.Go(func() error {
		return a.manager.Run(ctx, func() {
			a.reconciled.Store(true)
			close(a.known)
			a.log.InfoContext(ctx, "ready", "address", a.Addr().String(), "runtime", a.cfg.Session.Runtime)
		})
	})
	if a.engine != nil && a.engine.certificates != nil {
		work.Go(func() error { return a.engine.certificates.Run(ctx) })
	}
	if a.engine != nil { // nothing in the checklist applies where nothing is isolated
		work.Go(func() error { return doctor.Watch(ctx, a.doctorOptions, a.log, a.securityCheck.Store) })
	}
	if a.ports != nil {
		work.Go(func() error { return a.ports.Run(ctx, a.servePort) })
	}
	work.Go(func() error { return a.ledger.Run(ctx) })
	if a.gateway != nil {
		work.Go(func() error { return a.gateway.serve(ctx) })
	}
	work.Go(func() error { return a.audit.Run(ctx, ownRequest) })
	work.Go(func() error { return a.access.Tokens.Run(ownRequest(ctx), a.storage.TokensChanged) })
	work.Go(func() error { return a.host.pressure.Run(ctx) })
	work.Go(func() error { return a.host.disks.Run(ctx) })
	work.Go(func() error { return a.host.workspaces.Run(ownRequest(ctx)) })
	if a.webhook != nil {
		work.Go(func() error { return a.webhook.Run(ctx) })
	}
	work.Go(func() error {
		a.awaitRoutes(ctx)
		if ctx.Err() == nil {
			a.notifySupervisor(stateReady + "\nSTATUS=serving on " + a.Addr().String())
		}
		return a.server.Serve(ctx)
	})
	if a.certificates != nil {
		work.Go(func() error { return a.certificates.Run(ctx) })
	}
	if a.issuer != nil {
		work.Go(func() error { return a.issuer.Run(ctx) })
	}
	if a.redirect != nil {
		work.Go(func() error { return a.redirect.Serve(ctx) })
	}
	work.Go(func() error {
		<-ctx.Done() // canceled by the caller, or by the failure of another worker
		a.log.InfoContext(ctx, "stopping; sessions keep running", "reason", context.Cause(ctx).Error())
		defer leave() // from now on other instances take over our operations
		return a.drain(context.WithoutCancel(ctx))
	})
	return work.Wait()
}

// acceptWait is how long connections stay in the listener's queue while there are no routes. A supervisor that keeps the
// listener open during a restart has queued requests, which must not be answered "unknown session"; a health check must not
// wait for an engine that does not answer.
const acceptWait = 5 * time.Second

// awaitRoutes returns when sessions can be served, after acceptWait, or when ctx ends.
func (a *App) awaitRoutes(ctx context.Context) {
	wait := time.NewTimer(acceptWait)
	defer wait.Stop()
	select {
	case <-a.known:
	case <-wait.C:
	case <-ctx.Done():
	}
}

// stopTimeout bounds the closing of each resource that New opened.
const stopTimeout = 10 * time.Second

// Stop closes everything, newest first, and goes on after a failure. Called again, it returns the same error.
func (a *App) Stop(ctx context.Context) error {
	a.stopOnce.Do(func() { a.stopErr = a.closeAll(context.WithoutCancel(ctx)) })
	return a.stopErr
}

func (a *App) closeAll(ctx context.Context) error {
	var faults []error
	for _, u := range slices.Backward(a.undo) {
		ctx, cancel := context.WithTimeout(ctx, stopTimeout)
		if err := u.close(ctx); err != nil {
			faults = append(faults, fmt.Errorf("close %s: %w", u.name, err))
		}
		cancel()
	}
	a.undo = nil
	return errors.Join(faults...)
}

func (a *App) onStop(name string, closeIt func(context.Context) error) {
	a.undo = append(a.undo, undo{name: name, close: closeIt})
}

// ready returns why sessions cannot be served; nil when they can.
func (a *App) ready() error {
	if !a.reconciled.Load() {
		return session.Errorf(session.CodeShuttingDown, "not ready: starting or stopping").After(time.Second)
	}
	return nil
}
