package app

import (
	"context"
	"fmt"
	"path/filepath"

	"berth/internal/config"
	"berth/internal/httpapi"
	"berth/internal/pressure"
	"berth/internal/telemetry"
)

// The disks that Berth depends on.
const (
	diskEngine = "engine" // images, containers and workspaces
	diskState  = "state"  // Berth's own records
)

// watchDisks watches the disk of the engine, where that is on this machine and its directory can be seen from here, and
// that of the state directory.
func (a *App) watchDisks(ctx context.Context, s state) error {
	own, err := filepath.Abs(string(s))
	if err != nil {
		return fmt.Errorf("find the state directory: %w", err)
	}
	engine := a.engineRoot
	switch {
	case a.cfg.Session.Runtime == config.RuntimeProcess:
		engine = own
	case a.pressure.elsewhere:
		engine = "" // a directory of that name here is another one
	}
	log := a.named("pressure")
	a.disks = pressure.NewDiskMonitor([]pressure.Disk{{Name: diskEngine, Path: engine}, {Name: diskState, Path: own}},
		func(before pressure.Level, d pressure.DiskState) {
			ctx := context.WithoutCancel(ctx)
			log := log.With("disk", d.Name, "path", d.Path, "level", d.Level.String(), "before", before.String(), "value", round(d.Used), "free_bytes", d.Free)
			switch d.Level {
			case pressure.Critical:
				log.Log(ctx, telemetry.LevelCritical, "disk is full")
			case pressure.Warning:
				log.WarnContext(ctx, "disk is filling up")
			case pressure.Unknown:
				log.WarnContext(ctx, "disk cannot be measured any more")
			case pressure.OK:
				if before > pressure.OK {
					log.InfoContext(ctx, "disk has space again")
				}
			}
		})
	return nil
}

// reportDisks puts what is known of the disks into the operator's view, after [pressures.report].
func (a *App) reportDisks(h *httpapi.Health) {
	for _, d := range a.disks.Snapshot() {
		out := httpapi.Disk{Disk: d.Name, Path: d.Path, Status: d.Level.String()}
		if !d.At.IsZero() {
			out.Used, out.Free, out.MeasuredAt = new(round(d.Used)), new(d.Free), &d.At
		}
		h.Disks = append(h.Disks, out)
		if d.Level <= pressure.OK {
			continue
		}
		threshold := pressure.DiskWarning
		if d.Level == pressure.Critical {
			threshold = pressure.DiskCritical
		}
		h.Alerts = append(h.Alerts, httpapi.ResourceAlert{
			Resource: d.Name + "_disk", Level: d.Level.String(), Value: round(d.Used), Threshold: threshold, Since: d.Since, Message: sentenceOf(d),
		})
	}
}

// sentenceOf says what is wrong with a disk and what to do.
func sentenceOf(d pressure.DiskState) string {
	whose, remedy := "Berth's state", "free some space: stops, deletes and rotations are still recorded from a reserve"
	if d.Name == diskEngine {
		whose, remedy = "the engine", "delete sessions or images that nobody needs, or make it larger"
	}
	return fmt.Sprintf("the disk of %s (%s) is %.0f %% full, %.1f GiB left; %s", whose, d.Path, d.Used*100, float64(d.Free)/(1<<30), remedy)
}
