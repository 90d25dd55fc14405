package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/httpapi"
	"berth/internal/session"
	"berth/internal/throttle"
)

// Where tokens are shown; the label surface of the measurements.
const (
	surfaceAPI   = "api"
	surfaceProxy = "proxy"
)

// limited is the label reason of a wrong token that came too fast after others.
const limited = "limited"

// gate counts who is not let in, on every surface with the same throttle.
type gate struct {
	throttle *throttle.Throttle
	failures *prometheus.CounterVec
	swept    prometheus.Counter
}

func newGate() *gate {
	g := &gate{
		throttle: throttle.New(),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_auth_failures_total", Help: "Requests that were refused for want of a good token, by surface and reason.",
		}, []string{"surface", "reason"}),
		swept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_tokens_swept_total", Help: "Digests of expired and replaced tokens that were removed from the store.",
		}),
	}
	for _, surface := range []string{surfaceAPI, surfaceProxy} {
		for _, reason := range []string{string(session.Missing), string(session.Wrong), string(session.Expired), limited} {
			g.failures.WithLabelValues(surface, reason)
		}
	}
	return g
}

// attempts is the gate as one surface sees it.
type attempts struct {
	*gate
	surface string
}

var _ httpapi.Attempts = attempts{}

// Limited implements [httpapi.Attempts].
func (a attempts) Limited(remote string) bool { return a.throttle.Limited(remote) }

// Refused implements [httpapi.Attempts]. A token that is missing or has expired is no attempt at somebody else's session.
func (a attempts) Refused(remote string, why session.Standing) (wait time.Duration) {
	reason := string(why)
	if why == session.Wrong {
		if wait = a.throttle.Failed(remote); wait > 0 {
			reason = limited
		}
	}
	a.failures.WithLabelValues(a.surface, reason).Inc()
	return wait
}
