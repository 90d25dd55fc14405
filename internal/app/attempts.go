package app

import (
	"context"
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

// Rotations with a session's own token. Each is a line of the audit trail and of the log, and a write to the store: without a
// bound one session's user could rotate everything else out of the trail.
const (
	rotationBurst = 5
	rotationEvery = time.Minute
	mostRotated   = 8192 // sessions
)

// limited is the label reason of a refusal that came too fast after others.
const limited = "limited"

// gate counts requests without a valid token, on every surface with the same throttle.
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
	refusals *refusals
	surface  string
}

var _ httpapi.Attempts = attempts{}

// Limited implements [httpapi.Attempts].
func (a attempts) Limited(remote string) bool { return a.throttle.Limited(remote) }

// Refused implements [httpapi.Attempts]. A missing or expired token counts like a wrong one: each costs the same work. Only
// what is within the limit gets a record of its own.
func (a attempts) Refused(ctx context.Context, id session.ID, route string, why session.Standing) (wait time.Duration) {
	remote, reason := remoteOf(ctx), string(why)
	if wait = a.throttle.Failed(remote); wait > 0 {
		reason = limited
		a.refusals.omit(source{site: throttle.SiteOf(remote), outcome: refused})
	} else {
		a.refusals.record(ctx, id, route, why)
	}
	a.failures.WithLabelValues(a.surface, reason).Inc()
	return wait
}

// proxied is Refused for requests to sessions' servers.
func (a attempts) proxied(ctx context.Context, id session.ID, why session.Standing) (wait time.Duration) {
	return a.Refused(ctx, id, surfaceProxy, why)
}
