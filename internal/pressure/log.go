package pressure

import (
	"context"
	"log/slog"

	"berth/internal/telemetry"
)

// LogChange logs a change of the host's pressure.
func LogChange(ctx context.Context, log *slog.Logger, c Change) {
	log = log.With("resource", c.Resource, "pressure", c.To.String(), "before", c.From.String(), "value", Round(c.Value), "threshold", c.Threshold)
	switch {
	case c.To == Critical:
		log.Log(ctx, telemetry.LevelCritical, "host pressure is critical; no session is started")
	case c.To == Warning && c.From < c.To:
		log.WarnContext(ctx, "host pressure is high")
	case c.To == Unknown:
		log.WarnContext(ctx, "host pressure is not known any more; sessions are started nevertheless")
	default:
		log.InfoContext(ctx, "host pressure recovered")
	}
}

// LogDisk logs a change of a disk's level.
func LogDisk(ctx context.Context, log *slog.Logger, before Level, d DiskState) {
	log = log.With("disk", d.Name, "path", d.Path, "level", d.Level.String(), "before", before.String(), "value", Round(d.Used), "free_bytes", d.Free)
	switch d.Level {
	case Critical:
		log.Log(ctx, telemetry.LevelCritical, "disk is full")
	case Warning:
		log.WarnContext(ctx, "disk is filling up")
	case Unknown:
		log.WarnContext(ctx, "disk cannot be measured any more")
	case OK:
		if before > OK {
			log.InfoContext(ctx, "disk has space again")
		}
	}
}

// Round keeps four digits of a fraction.
func Round(fraction float64) float64 { return float64(int(fraction*10_000+0.5)) / 10_000 }
