package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/session"
)

// callBuckets are in seconds: an inspect takes a millisecond, a stop as long as the stop timeout of a server.
var callBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// calls measures calls by name and outcome: ok, or the code of the failure.
type calls struct{ seconds *prometheus.HistogramVec }

func newCalls(name, help string) calls {
	return calls{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: callBuckets}, []string{"call", "outcome"})}
}

func (c calls) done(call string, begun time.Time, err error) (took time.Duration, outcome string) {
	took, outcome = time.Since(begun), string(session.CodeOf(err))
	if outcome == "" {
		outcome = "ok"
	}
	c.seconds.WithLabelValues(call, outcome).Observe(took.Seconds())
	return took, outcome
}
