package app

import (
	"context"
	"fmt"
	"path/filepath"

	"berth/internal/config"
	"berth/internal/health"
	"berth/internal/hostip"
	"berth/internal/pressure"
	"berth/internal/workspace"
)

// hostMonitors watch the load of the engine's host.
type hostMonitors struct {
	pressure        *pressure.Monitor
	disks           *pressure.DiskMonitor
	workspaces      *workspace.Monitor
	engineElsewhere bool // the engine runs on another machine
}

// openHost watches memory and CPU time of the host, and the disks.
func (a *App) openHost(ctx context.Context) (err error) {
	log, limits := a.named("pressure"), a.cfg.Limits
	a.host.engineElsewhere = a.cfg.Session.Runtime == config.RuntimeDocker && !hostip.IsThisMachine(ctx, a.cfg.Docker.Host)
	opts := pressure.Options{
		Source:        pressure.NewHost(pressure.HostOptions{Children: a.cfg.Session.Runtime == config.RuntimeProcess}),
		MemoryWarning: limits.MemoryWarning, CPUWarning: limits.CPUWarning, Critical: limits.Critical,
		Elsewhere: a.host.engineElsewhere, Logger: log,
		OnChange: func(c pressure.Change) {
			a.metrics.PressureChanged(c)
			pressure.LogChange(context.WithoutCancel(ctx), log, c)
		},
	}
	for _, change := range a.around.pressure {
		change(&opts)
	}
	if a.host.pressure, err = pressure.New(opts); err != nil {
		return err
	}
	return a.openDisks(ctx)
}

// openDisks watches the disk of the state directory, and that of the engine if the engine's directory is visible on this
// machine.
func (a *App) openDisks(ctx context.Context) error {
	own, err := filepath.Abs(a.cfg.Server.StateDir)
	if err != nil {
		return fmt.Errorf("find the state directory: %w", err)
	}
	engine := own
	switch {
	case a.engine != nil && a.host.engineElsewhere:
		engine = "" // its directory is not on this machine
	case a.engine != nil:
		engine = a.engine.Engine().RootDir // empty: not reported by the engine
	}
	log := a.named("pressure")
	a.host.disks = pressure.NewDiskMonitor([]pressure.Disk{{Name: health.DiskEngine, Path: engine}, {Name: health.DiskState, Path: own}},
		func(before pressure.Level, d pressure.DiskState) {
			pressure.LogDisk(context.WithoutCancel(ctx), log, before, d)
		})
	return nil
}

// measureEvery is the number of reconciliations per measurement of the volumes, which is more expensive.
const measureEvery = 10

// openWorkspaces measures the volumes of sessions.
func (a *App) openWorkspaces() (err error) {
	limits := a.cfg.Limits
	a.host.workspaces, err = workspace.New(workspace.Options{
		Containers: a.runtime.List, Every: measureEvery * a.cfg.Session.ReconcileInterval.Duration(),
		Warning: limits.WorkspaceWarning, Limit: limits.WorkspaceLimit, Stop: a.manager.StopOversized, Logger: a.named("workspace"),
	})
	return err
}
