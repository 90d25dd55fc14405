package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/session"
)

// incidents counts what operators are notified of.
func newIncidents() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_session_incidents_total",
		Help: "Sessions that were unhealthy and restarted, came back, ran out of memory or failed for good, by cause.",
	}, []string{"event", "cause"})
}

// healthCollector counts sessions by the state of their servers.
type healthCollector struct {
	manager *session.Manager
	desc    *prometheus.Desc
}

func newHealthCollector(manager *session.Manager) prometheus.Collector {
	return &healthCollector{manager: manager, desc: prometheus.NewDesc("berth_sessions_by_health",
		"Sessions that this process looks after, by the state of their servers.", []string{"state"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *healthCollector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect implements [prometheus.Collector].
func (c *healthCollector) Collect(to chan<- prometheus.Metric) {
	counts := map[session.HealthState]int{session.Healthy: 0, session.Unhealthy: 0, session.Restarting: 0, session.Failed: 0, session.Unknown: 0}
	for _, h := range c.manager.Healths() {
		counts[h.State]++
	}
	for state, n := range counts {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), string(state))
	}
}
