package app

import (
	"context"
	"log/slog"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/telemetry"
)

// openTrail opens the audit trail, and separately the record of requests without a valid token.
func (a *App) openTrail() error {
	file := telemetry.File{MaxSizeMB: a.cfg.Log.MaxSizeMB, Backups: a.cfg.Log.BackupCount}
	if a.cfg.Log.FileEnabled {
		file.Path = a.cfg.Log.AuditFile
	}
	log, closer, err := telemetry.NewTrail(file, a.log)
	if err != nil {
		return err
	}
	a.onStop("audit trail", func(context.Context) error { return closer.Close() })
	if file.Path != "" {
		file.Path = a.cfg.Log.RefusalsFile()
	}
	apart, closer, err := telemetry.NewTrail(file, a.log)
	if err != nil {
		return err
	}
	a.audit = access.NewTrail(log, apart)
	a.onStop("record of refusals", func(ctx context.Context) error {
		a.audit.WriteOmitted(ownRequest(ctx))
		return closer.Close()
	})
	return nil
}

// recordOperation records operations on sessions, and those that were refused.
func (a *App) recordOperation(ctx context.Context, p lifecycle.OperationResult) {
	outcome := access.OK
	var more []slog.Attr
	if p.Outcome != "" {
		outcome = access.Failed
		more = append(more, slog.String("code", string(p.Outcome)))
	}
	if p.Refused {
		outcome = access.Refused
	}
	if p.Automatic {
		more = append(more, slog.Bool("automatic", true))
	}
	if p.Forced {
		more = append(more, slog.Bool("forced", true))
	}
	if p.StopReason != "" {
		more = append(more, slog.String("reason", string(p.StopReason)))
	}
	a.audit.Record(ctx, p.Operation, p.Session, outcome, more...)
}

// recordCall records the engine calls that change something.
func (a *App) recordCall(ctx context.Context, call, container, outcome string) {
	attrs := []slog.Attr{slog.String("container", container)}
	if outcome != access.OK {
		attrs = append(attrs, slog.String("code", outcome))
		outcome = access.Failed
	}
	a.audit.Record(ctx, "engine_"+call, "", outcome, attrs...)
}
