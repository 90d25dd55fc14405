// Package metrics holds the metrics for Prometheus: those that are counted at the event, and those that are measured at each
// scrape. It knows every metric's name. It changes nothing, and does not know who scrapes.
package metrics

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/pressure"
	"berth/internal/proxy"
)

// Metrics are the metrics that are counted at the event.
type Metrics struct {
	incidents  *prometheus.CounterVec
	operations *prometheus.HistogramVec
	engine     calls
	store      calls

	requests       counters
	requestSeconds prometheus.Histogram
	streams        prometheus.Counter
	bytes          counters

	unauthenticated *prometheus.CounterVec
	tokensSwept     prometheus.Counter

	models modelMetrics

	pressureChanges *prometheus.CounterVec
	rejections      *prometheus.CounterVec
}

// Reasons why sessions are not admitted.
const (
	rejectedByLimit  = "session_limit"
	rejectedByMemory = "host_memory"
	rejectedByCPU    = "host_cpu"
)

// Limits of the buckets, in seconds: an operation takes from a tenth of a second to the time-out of a slow start, a
// proxied request from a millisecond to an agent's turn of many minutes.
var (
	operationBuckets = []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	requestBuckets   = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
)

// New registers the metrics.
func New(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		incidents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_session_incidents_total",
			Help: "Sessions that were unhealthy and restarted, came back, ran out of memory or failed for good, by cause.",
		}, []string{"event", "cause"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "berth_session_operation_seconds", Buckets: operationBuckets,
			Help: "How long operations on sessions took, by how they ended: ok, or the code of the failure.",
		}, []string{"operation", "outcome"}),
		engine: newCalls("berth_engine_call_seconds", "How long calls of the engine took, by how they ended: ok, or the code of the failure."),
		store:  newCalls("berth_store_call_seconds", "How long calls of the store took, by how they ended: ok, or the code of the failure."),
		requests: newCounters(prometheus.CounterOpts{
			Name: "berth_proxy_requests_total",
			Help: "Proxied requests by the status of their answer; left: the client did not wait for one.",
		}, "status"),
		requestSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "berth_proxy_request_seconds", Buckets: requestBuckets,
			Help: "How long proxied requests took, up to the last byte; without event streams and WebSockets.",
		}),
		streams: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_proxy_streams_total", Help: "Event streams and WebSockets that have ended.",
		}),
		bytes: newCounters(prometheus.CounterOpts{
			Name: "berth_proxy_bytes_total", Help: "Bytes of content from and to clients, counted when their request is over.",
		}, "direction"),
		unauthenticated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_auth_failures_total", Help: "Requests that were refused for want of a good token, by surface and reason.",
		}, []string{"surface", "reason"}),
		tokensSwept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_tokens_swept_total", Help: "Digests of expired and replaced tokens that were removed from the store.",
		}),
		pressureChanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_host_pressure_changes_total", Help: "Changes of the host's pressure, by resource and the level that was reached.",
		}, []string{"resource", "level"}),
		rejections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_admission_refusals_total", Help: "Creates, starts and wakes that were refused for want of room, by reason.",
		}, []string{"reason"}),
	}
	m.models = newModelMetrics(r)
	for _, reason := range []string{rejectedByLimit, rejectedByMemory, rejectedByCPU} {
		m.rejections.WithLabelValues(reason)
	}
	for _, surface := range []access.Surface{access.API, access.Proxy} {
		for _, reason := range access.Reasons() {
			m.unauthenticated.WithLabelValues(string(surface), reason)
		}
	}
	r.MustRegister(m.incidents, m.operations, m.engine.seconds, m.store.seconds, m.requests, m.requestSeconds, m.streams, m.bytes,
		m.unauthenticated, m.tokensSwept, m.pressureChanges, m.rejections)
	return m
}

// Incident counts an event of a session that no request caused.
func (m *Metrics) Incident(n lifecycle.Notice) {
	m.incidents.WithLabelValues(string(n.Type), string(n.Cause)).Inc()
}

// PressureChanged counts a change of the host's pressure.
func (m *Metrics) PressureChanged(c pressure.Change) {
	m.pressureChanges.WithLabelValues(string(c.Resource), c.To.String()).Inc()
}

// Rejected counts a session that was not admitted.
func (m *Metrics) Rejected(err error) {
	reason := rejectedByLimit
	if critical, ok := errors.AsType[*pressure.CriticalError](err); ok {
		reason = map[pressure.Resource]string{pressure.Memory: rejectedByMemory, pressure.CPU: rejectedByCPU}[critical.Resource]
	}
	m.rejections.WithLabelValues(reason).Inc()
}

// Unauthenticated counts a request without a valid token.
func (m *Metrics) Unauthenticated(s access.Surface, reason string) {
	m.unauthenticated.WithLabelValues(string(s), reason).Inc()
}

// TokensSwept counts digests that were removed from the store.
func (m *Metrics) TokensSwept(n int) { m.tokensSwept.Add(float64(n)) }

// Operation counts an operation and its duration.
func (m *Metrics) Operation(p lifecycle.OperationResult) {
	if p.Duration == 0 {
		return
	}
	outcome := string(p.Outcome)
	if outcome == "" {
		outcome = "ok"
	}
	m.operations.WithLabelValues(p.Operation, outcome).Observe(p.Duration.Seconds())
}

// Proxied counts a finished request.
func (m *Metrics) Proxied(o proxy.Observation) {
	m.requests.of(statusLabel(o.Status)).Inc()
	m.bytes.of("received").Add(float64(o.Received))
	m.bytes.of("sent").Add(float64(o.Sent))
	if o.Stream {
		m.streams.Inc()
		return
	}
	m.requestSeconds.Observe(o.Duration.Seconds())
}

// statusLabel returns a status's class: users control their sessions' servers, which could send nine hundred different ones.
func statusLabel(status int) string {
	switch {
	case status == proxy.StatusClientClosedRequest:
		return "left"
	case status < 100:
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}
