package doctor

import (
	"context"
	"log/slog"
	"time"

	"berth/internal/httpapi"
)

// watchEvery is the interval of the security check in /health, which does TLS handshakes and reads files: too expensive for
// every request.
const watchEvery = time.Hour

// Watch runs the checks every hour until ctx ends, hands each report on, and logs when the status has changed. The
// options are created for each run and released after it.
func Watch(ctx context.Context, options func() (o Options, done func()), log *slog.Logger, report func(*httpapi.SecurityCheck)) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	status := Status("")
	for {
		if r, err := runOnce(ctx, options); err == nil && ctx.Err() == nil { // otherwise it was interrupted by the shutdown
			report(auditOf(r))
			if r.Status != status {
				log.InfoContext(ctx, "security check finished", "status", string(r.Status), "passed", r.Counts[Pass],
					"warnings", r.Counts[Warn], "failed", r.Counts[Fail], "skipped", r.Counts[Skipped])
			}
			status = r.Status
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func runOnce(ctx context.Context, options func() (Options, func())) (Report, error) {
	o, done := options()
	defer done()
	return Run(ctx, o, Checks(), DefaultTimeout)
}

// auditOf converts a report for /health.
func auditOf(r Report) *httpapi.SecurityCheck {
	audit := &httpapi.SecurityCheck{Status: string(r.Status), CheckedAt: time.Now().UTC()}
	for _, result := range r.Results {
		item := httpapi.SecurityCheckItem{Item: result.Item, Check: result.Check, Status: string(result.Status)}
		for _, f := range result.Findings {
			item.Findings = append(item.Findings, httpapi.SecurityCheckFinding{Status: string(f.Status), Code: f.Code, Seen: f.Seen, Remedy: f.Remedy})
		}
		audit.Items = append(audit.Items, item)
	}
	return audit
}
