package metrics

import (
	"cmp"
	"context"
	goruntime "runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/pki"
	"berth/internal/proxy"
	"berth/internal/storage"
	"berth/internal/storage/record"
)

// statusTimeout bounds the status report of a scrape.
const statusTimeout = 4 * time.Second

// Process measures the build, the overall status, and the result of the security check, which is nil before the first.
func Process(version string, limit func() int, status func(context.Context) string, check func() *httpapi.SecurityCheck) prometheus.Collector {
	var s scrape
	build := s.gauge("berth_build_info", "Always 1; what this process was built from.", "version", "goversion")
	most := s.gauge("berth_session_limit", "Most sessions that may run at once (MAX_CONCURRENT_SESSIONS).")
	health := s.gauge("berth_health_status", "1 for the status of the whole as GET /health says it, 0 for the others.", "status")
	findings := s.gauge("berth_security_check_findings",
		"Findings of the last security check (berth doctor) that need attention, by severity; absent before the first.", "severity")
	checked := s.gauge("berth_security_check_timestamp_seconds", "When the last security check was made, in seconds since 1970.")
	s.collect = func(to chan<- prometheus.Metric) {
		build(to, 1, version, goruntime.Version())
		most(to, float64(limit()))
		ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
		defer cancel()
		current := status(ctx)
		for _, status := range []string{"healthy", "degraded", "unhealthy"} {
			health(to, oneIf(status == current), status)
		}
		last := check()
		if last == nil {
			return
		}
		counts := map[string]int{"warn": 0, "fail": 0}
		for _, item := range last.Items {
			for _, finding := range item.Findings {
				if n, ok := counts[finding.Status]; ok {
					counts[finding.Status] = n + 1
				}
			}
		}
		for severity, n := range counts {
			findings(to, float64(n), severity)
		}
		checked(to, float64(last.CheckedAt.Unix()))
	}
	return &s
}

// Sessions measures the number of sessions, the health of their servers, and the load of the proxy.
func Sessions(count func(context.Context) (record.Counts, error), healths func() []lifecycle.Health, load func() proxy.Load) prometheus.Collector {
	var s scrape
	byStatus := s.gauge("berth_sessions", "Sessions by status; absent while the store does not answer.", "status")
	byHealth := s.gauge("berth_sessions_by_health", "Sessions that this process looks after, by the state of their servers.", "state")
	requests := s.gauge("berth_proxy_requests_in_flight", "Proxied requests that are being served, without streams.")
	waiting := s.gauge("berth_proxy_requests_waiting", "Of them, those whose session has HTTP_MAX_CONNECTIONS requests already.")
	streams := s.gauge("berth_proxy_streams", "Event streams and WebSockets that are open.")
	connections := s.gauge("berth_proxy_connections", "Connections to the sessions' servers that are open, idle ones included.")
	dialed := s.counter("berth_proxy_connections_made_total", "Connections that were made to the sessions' servers.")
	s.collect = func(to chan<- prometheus.Metric) {
		if counts, err := count(context.Background()); err == nil {
			for status, n := range counts.ByStatus {
				byStatus(to, float64(n), string(status))
			}
		}
		states := map[lifecycle.HealthState]int{lifecycle.Healthy: 0, lifecycle.Unhealthy: 0, lifecycle.Restarting: 0, lifecycle.Failed: 0, lifecycle.Unknown: 0}
		for _, h := range healths() {
			states[h.State]++
		}
		for state, n := range states {
			byHealth(to, float64(n), string(state))
		}
		now := load()
		requests(to, float64(now.Requests))
		waiting(to, float64(now.Waiting))
		streams(to, float64(now.Streams))
		connections(to, float64(now.Connections))
		dialed(to, float64(now.Dialed))
	}
	return &s
}

// Storage measures the state of the storage. up reports whether sessions can be read and changed.
func Storage(up func() bool, state func() storage.State) prometheus.Collector {
	var s scrape
	works := s.gauge("berth_store_up", "1 if sessions can be read and changed, also while changes are journalled; else 0.")
	degraded := s.gauge("berth_store_degraded", "1 while the database is unavailable, or does not notify this process of changes; else 0.")
	pending := s.gauge("berth_store_pending_changes", "Sessions whose changes are journalled and not in the database yet.")
	notified := s.gauge("berth_store_notifications_up",
		"1 if the database notifies this process of changes; 0 while they are looked for every second. Only with a database.")
	s.collect = func(to chan<- prometheus.Metric) {
		isUp, now := up(), state()
		works(to, oneIf(isUp))
		pending(to, float64(now.Pending))
		degraded(to, oneIf(now.Database && (!isUp || now.Degraded || !now.Notified)))
		if now.Database {
			notified(to, oneIf(now.Notified))
		}
	}
	return &s
}

// Certificates measures how long the certificates of the engine's connection and of the listener are valid.
func Certificates(expiries func() []pki.Expiry) prometheus.Collector {
	var s scrape
	expiry := s.gauge("berth_certificate_expiry_seconds",
		"Seconds until the certificate expires, negative when it has; of several authorities, of the one that lasts longest; of several of the listener, of the one that ends first.", "certificate")
	s.collect = func(to chan<- prometheus.Metric) {
		left := map[string]time.Duration{}
		for _, e := range expiries() {
			name := e.Certificate()
			known, ok := left[name]
			if isLonger := cmp.Less(known, e.Left); !ok || isLonger != (e.Kind == pki.KindListener) {
				left[name] = e.Left
			}
		}
		for name, duration := range left {
			expiry(to, duration.Seconds(), name)
		}
	}
	return &s
}
