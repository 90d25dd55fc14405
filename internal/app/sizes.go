package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/httpapi"
	"berth/internal/session"
	"berth/internal/workspace"
)

// measureEvery is how many reconciliations there are for each measurement of the volumes, which costs more.
const measureEvery = 10

func (a *App) newSizes() (*workspace.Monitor, error) {
	limits := a.cfg.Limits
	return workspace.New(workspace.Options{
		Containers: a.runtime.List, Every: measureEvery * a.cfg.Session.ReconcileInterval.Duration(),
		Warning: limits.WorkspaceWarning, Limit: limits.WorkspaceLimit, Stop: a.manager.StopOversized, Logger: a.named("workspace"),
	})
}

// sizeOf is the newest measurement of a session; nil when there is none.
func (a *App) sizeOf(id session.ID) *httpapi.WorkspaceSize {
	s, ok := a.sizes.Size(id)
	if !ok {
		return nil
	}
	return &httpapi.WorkspaceSize{Bytes: int64(s.Bytes), Partial: s.Partial, MeasuredAt: s.At, Level: levels[s.Level]}
}

var levels = map[workspace.Level]string{workspace.Fine: "ok", workspace.Warning: "warning", workspace.Over: "limit"}

// workspaces is what all sessions take together; nil before the first measurement.
func (a *App) workspaces() *httpapi.Workspaces {
	sum := a.sizes.Summary()
	if sum.At.IsZero() {
		return nil
	}
	return &httpapi.Workspaces{
		Measured: sum.Measured, Bytes: int64(sum.Bytes), Largest: int64(sum.Largest), Warned: sum.Warned, Over: sum.Over, MeasuredAt: sum.At,
	}
}

// sizeCollector tells at each scrape what was measured last; nothing where nothing can be.
type sizeCollector struct {
	monitor                           *workspace.Monitor
	bytes, largest, measured, byLevel *prometheus.Desc
}

func newSizeCollector(m *workspace.Monitor) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return sizeCollector{
		monitor:  m,
		bytes:    desc("berth_workspaces_bytes", "What the volumes of all sessions take on the engine's disk, as far as they could be measured."),
		largest:  desc("berth_workspace_largest_bytes", "What the volumes of the largest session take."),
		measured: desc("berth_workspaces_measured", "Sessions whose volumes could be measured."),
		byLevel:  desc("berth_workspaces_over", "Sessions whose volumes are at a threshold or above.", "threshold"),
	}
}

// Describe implements [prometheus.Collector].
func (c sizeCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.bytes, c.largest, c.measured, c.byLevel} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c sizeCollector) Collect(to chan<- prometheus.Metric) {
	sum := c.monitor.Summary()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(c.measured, float64(sum.Measured))
	if sum.Measured == 0 {
		return
	}
	gauge(c.bytes, float64(sum.Bytes))
	gauge(c.largest, float64(sum.Largest))
	gauge(c.byLevel, float64(sum.Warned), "warning")
	gauge(c.byLevel, float64(sum.Over), "limit")
}
