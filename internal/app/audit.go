package app

import (
	"context"
	"os"
	"time"

	"berth/internal/config"
	"berth/internal/doctor"
	"berth/internal/httpapi"
	"berth/internal/storage"
)

const (
	// auditEvery is how old the security audit in /health may be. Its checks shake hands and read files: too much for
	// every request.
	auditEvery = time.Hour
	// auditTimeout bounds each check, as berth doctor does.
	auditTimeout = 20 * time.Second
)

// watchAudit goes through the security audit checklist in intervals until ctx ends, and speaks of what got worse.
func (a *App) watchAudit(ctx context.Context) error {
	if a.cfg.Session.Runtime == config.RuntimeProcess {
		return nil // nothing in the checklist applies where nothing is isolated
	}
	every(ctx, auditEvery, func() { a.doAudit(ctx) })
	return nil
}

func (a *App) doAudit(ctx context.Context) {
	options, done := doctor.FromConfig(a.cfg)
	defer done()
	options.Instance, options.Credentials = storage.InstanceOf(a.cfg.Server.StateDir), os.Getenv("CREDENTIALS_DIRECTORY")
	report, err := doctor.Run(ctx, options, doctor.Checks(), auditTimeout)
	if err != nil || ctx.Err() != nil {
		return // cut short by the end
	}
	audit := &httpapi.Audit{Status: string(report.Status), CheckedAt: time.Now().UTC()}
	for _, result := range report.Results {
		item := httpapi.AuditItem{Item: result.Item, Check: result.Check, Status: string(result.Status)}
		for _, f := range result.Findings {
			item.Findings = append(item.Findings, httpapi.AuditFinding{Status: string(f.Status), Code: f.Code, Seen: f.Seen, Remedy: f.Remedy})
		}
		audit.Items = append(audit.Items, item)
	}
	if before := a.audit.Swap(audit); before == nil || before.Status != audit.Status {
		a.log.InfoContext(ctx, "security audit", "status", audit.Status, "passed", report.Counts[doctor.Pass],
			"warnings", report.Counts[doctor.Warn], "failed", report.Counts[doctor.Fail], "skipped", report.Counts[doctor.Skipped])
	}
}
