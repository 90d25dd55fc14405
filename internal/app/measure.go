package app

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/lifecycle"
	"berth/internal/proxy"
)

// measures are what is counted as it happens. What is known at any time is collected when somebody asks.
type measures struct {
	incidents  *prometheus.CounterVec
	operations *prometheus.HistogramVec
	engine     stopwatch
	store      stopwatch

	requests       *prometheus.CounterVec
	requestSeconds prometheus.Histogram
	streams        prometheus.Counter
	bytes          *prometheus.CounterVec
}

// Limits of the buckets, in seconds: an operation takes from a tenth of a second to the time-out of a slow start, a
// proxied request from a millisecond to an agent's turn of many minutes.
var (
	operationBuckets = []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	requestBuckets   = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
)

func newMeasures() *measures {
	return &measures{
		incidents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_session_incidents_total",
			Help: "Sessions that were unhealthy and restarted, came back, ran out of memory or failed for good, by cause.",
		}, []string{"event", "cause"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "berth_session_operation_seconds", Buckets: operationBuckets,
			Help: "How long operations on sessions took, by how they ended: ok, or the code of the failure.",
		}, []string{"operation", "outcome"}),
		engine: newStopwatch("berth_engine_call_seconds", "How long calls of the engine took, by how they ended: ok, or the code of the failure."),
		store:  newStopwatch("berth_store_call_seconds", "How long calls of the store took, by how they ended: ok, or the code of the failure."),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_proxy_requests_total",
			Help: "Proxied requests by the status of their answer; left: the client did not wait for one.",
		}, []string{"status"}),
		requestSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "berth_proxy_request_seconds", Buckets: requestBuckets,
			Help: "How long proxied requests took, up to the last byte; without event streams and WebSockets.",
		}),
		streams: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_proxy_streams_total", Help: "Event streams and WebSockets that have ended.",
		}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_proxy_bytes_total", Help: "Bytes of content from and to clients, counted when their request is over.",
		}, []string{"direction"}),
	}
}

func (m *measures) register(r prometheus.Registerer) {
	r.MustRegister(m.incidents, m.operations, m.engine.seconds, m.store.seconds, m.requests, m.requestSeconds, m.streams, m.bytes)
}

// operation counts what has taken time.
func (m *measures) operation(p lifecycle.Performance) {
	if p.Duration == 0 {
		return
	}
	outcome := string(p.Outcome)
	if outcome == "" {
		outcome = "ok"
	}
	m.operations.WithLabelValues(p.What, outcome).Observe(p.Duration.Seconds())
}

func (m *measures) proxied(o proxy.Observation) {
	m.requests.WithLabelValues(statusLabel(o.Status)).Inc()
	m.bytes.WithLabelValues("received").Add(float64(o.Received))
	m.bytes.WithLabelValues("sent").Add(float64(o.Sent))
	if o.Stream {
		m.streams.Inc()
		return
	}
	m.requestSeconds.Observe(o.Duration.Seconds())
}

// statusLabel is a status's class: the sessions' servers are their users', and could answer with nine hundred numbers.
func statusLabel(status int) string {
	switch {
	case status == proxy.StatusClientLeft:
		return "left"
	case status < 100:
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}

// stateCollector measures at each scrape what sessions there are, how their servers are, and what the proxy does.
type stateCollector struct {
	app *App

	byStatus, byHealth                      *prometheus.Desc
	requests, waiting, streams, connections *prometheus.Desc
	dialled                                 *prometheus.Desc
}

func newStateCollector(a *App) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &stateCollector{
		app:         a,
		byStatus:    desc("berth_sessions", "Sessions by status; absent while the store does not answer.", "status"),
		byHealth:    desc("berth_sessions_by_health", "Sessions that this process looks after, by the state of their servers.", "state"),
		requests:    desc("berth_proxy_requests_in_flight", "Proxied requests that are being served, without streams."),
		waiting:     desc("berth_proxy_requests_waiting", "Of them, those whose session has HTTP_MAX_CONNECTIONS requests already."),
		streams:     desc("berth_proxy_streams", "Event streams and WebSockets that are open."),
		connections: desc("berth_proxy_connections", "Connections to the sessions' servers that are open, idle ones included."),
		dialled:     desc("berth_proxy_connections_made_total", "Connections that were made to the sessions' servers."),
	}
}

// Describe implements [prometheus.Collector].
func (c *stateCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.byStatus, c.byHealth, c.requests, c.waiting, c.streams, c.connections, c.dialled} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *stateCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	if counts, err := c.app.counts.Count(ctx); err == nil {
		for status, n := range counts.ByStatus {
			gauge(c.byStatus, float64(n), string(status))
		}
	}
	states := map[lifecycle.HealthState]int{lifecycle.Healthy: 0, lifecycle.Unhealthy: 0, lifecycle.Restarting: 0, lifecycle.Failed: 0, lifecycle.Unknown: 0}
	for _, h := range c.app.manager.Healths() {
		states[h.State]++
	}
	for state, n := range states {
		gauge(c.byHealth, float64(n), string(state))
	}
	load := c.app.proxy.Load()
	gauge(c.requests, float64(load.Requests))
	gauge(c.waiting, float64(load.Waiting))
	gauge(c.streams, float64(load.Streams))
	gauge(c.connections, float64(load.Connections))
	to <- prometheus.MustNewConstMetric(c.dialled, prometheus.CounterValue, float64(load.Dialed))
}
