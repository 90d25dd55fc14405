package app

import (
	"context"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/doctor"
)

// statusCollector measures at each scrape what this process is, how the whole is, and what the security check found.
type statusCollector struct {
	app *App

	build, limit, status, findings, checked *prometheus.Desc
}

func newStatusCollector(a *App) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &statusCollector{
		app:    a,
		build:  desc("berth_build_info", "Always 1; what this process was built from.", "version", "goversion"),
		limit:  desc("berth_session_limit", "Most sessions that may run at once (MAX_CONCURRENT_SESSIONS)."),
		status: desc("berth_health_status", "1 for the status of the whole as GET /health says it, 0 for the others.", "status"),
		findings: desc("berth_security_check_findings",
			"Findings of the last security check (berth doctor) that need attention, by severity; absent before the first.", "severity"),
		checked: desc("berth_security_check_timestamp_seconds", "When the last security check was made, in seconds since 1970."),
	}
}

// Describe implements [prometheus.Collector].
func (c *statusCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.build, c.limit, c.status, c.findings, c.checked} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *statusCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(c.build, 1, c.app.version, runtime.Version())
	gauge(c.limit, float64(c.app.live.Load().Limits.MaxSessions))
	ctx, cancel := context.WithTimeout(context.Background(), 2*healthTimeout)
	defer cancel()
	current := c.app.health(ctx).Status
	for _, status := range []string{"healthy", "degraded", "unhealthy"} {
		value := 0.0
		if status == current {
			value = 1
		}
		gauge(c.status, value, status)
	}
	audit := c.app.audit.Load()
	if audit == nil {
		return
	}
	counts := map[doctor.Status]int{doctor.Warn: 0, doctor.Fail: 0}
	for _, item := range audit.Items {
		for _, finding := range item.Findings {
			if severity := doctor.Status(finding.Status); severity == doctor.Warn || severity == doctor.Fail {
				counts[severity]++
			}
		}
	}
	for severity, n := range counts {
		gauge(c.findings, float64(n), string(severity))
	}
	gauge(c.checked, float64(audit.CheckedAt.Unix()))
}
