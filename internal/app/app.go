// Package app puts Berth together: it opens what the configuration asks for, runs it, and closes it again. It is the
// only package that knows more than one adapter. It refuses to know flags and signals.
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
	"berth/internal/config"
	"berth/internal/doctor"
	"berth/internal/health"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/metrics"
	"berth/internal/proxy"
	"berth/internal/server"
	"berth/internal/session"
	"berth/internal/storage"
	"berth/internal/telemetry"
	"berth/internal/webhook"
)

// App is one running Berth. Make it with [New], run it with [App.Run], and always end it with [App.Stop].
type App struct {
	cfg     config.Config
	log     *slog.Logger
	version string
	begun   time.Time
	around  processOptions

	storage *storage.Storage
	store   *metrics.Store // of the storage, measured
	keys    access.Keys
	engine  *engine // nil: sessions are processes
	runtime session.Runtime
	host    hostMonitors
	manager *lifecycle.Manager
	webhook *webhook.Sender // nil: no notices are sent
	proxy   *proxy.Proxy
	server  *server.Server
	metrics *metrics.Metrics
	health  *health.Reporter
	audit   *access.Trail
	access  *access.Authority
	proxies access.Proxies

	descriptors server.Descriptors
	logShares   *server.LogShares
	live        atomic.Pointer[config.Config] // cfg, and what has been reloaded since
	reloading   sync.Mutex

	reconciled    atomic.Bool   // routes are known
	known         chan struct{} // closed when they are for the first time
	securityCheck atomic.Pointer[httpapi.SecurityCheck]
	draining      chan struct{} // closed when it begins to stop
	stopOnce      sync.Once
	stopErr       error
	undo          []undo // what was opened, oldest first
}

// undo closes one thing that New opened.
type undo struct {
	name  string
	close func(context.Context) error
}

// New opens everything: state directory, store, runtime, listener. When something cannot be opened it closes the rest
// and says what to do. Nothing is served before [App.Run].
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

// open opens one part after the other.
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
		func() error { return a.openAccess(admin) },
		func() error { return a.openRuntime(ctx, dir) },
		func() error { return a.openHost(ctx) },
		func() error { return a.openManager(table) },
		a.openWorkspaces,
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
	return a.openServer(ctx, dir, a.proxy.Before(server.LogRequests(api.Handler(), a.named("httpapi"), a.logShares)))
}

// Addr is the address that requests are served on.
func (a *App) Addr() net.Addr { return a.server.Addr() }

// Run serves until ctx ends, and returns nil then; an error says which part failed. Stop must follow in either case.
func (a *App) Run(ctx context.Context) error {
	alive, stopTelling := context.WithCancel(context.WithoutCancel(ctx)) // also while it drains
	var telling sync.WaitGroup
	defer telling.Wait()
	defer stopTelling()
	telling.Go(func() { a.sendWatchdog(alive) })
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
	work.Go(func() error { return a.audit.Run(ctx, ownRequest) })
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
	work.Go(func() error {
		<-ctx.Done() // the caller's wish, or the failure of another part
		a.log.InfoContext(ctx, "stopping; sessions go on running", "reason", context.Cause(ctx).Error())
		defer leave() // others take over from now on what is ours
		return a.drain(context.WithoutCancel(ctx))
	})
	return work.Wait()
}

// acceptWait is how long connections are left in the listener's queue for want of routes. Who has kept a listener open while
// Berth was restarted has sent requests that must not find their sessions unknown; whoever asks how Berth is must not wait
// for an engine that does not answer.
const acceptWait = 5 * time.Second

// awaitRoutes returns when sessions can be served, or it is no use to wait any longer.
func (a *App) awaitRoutes(ctx context.Context) {
	wait := time.NewTimer(acceptWait)
	defer wait.Stop()
	select {
	case <-a.known:
	case <-wait.C:
	case <-ctx.Done():
	}
}

// stopTimeout bounds the closing of each thing that New opened.
const stopTimeout = 10 * time.Second

// Stop closes everything, newest first, past failures. It may be called again and then answers the same.
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

// ready says why sessions cannot be served, nil when they can.
func (a *App) ready() error {
	if !a.reconciled.Load() {
		return session.Errorf(session.CodeShuttingDown, "not ready: starting or stopping").After(time.Second)
	}
	return nil
}
