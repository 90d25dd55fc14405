package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are those of one label's values. A known value is found without the vector's lock, because every proxied
// request counts.
type counters struct {
	*prometheus.CounterVec
	known *sync.Map // prometheus.Counter by the label's value
}

func newCounters(o prometheus.CounterOpts, label string) counters {
	return counters{prometheus.NewCounterVec(o, []string{label}), new(sync.Map)}
}

func (c counters) of(value string) prometheus.Counter {
	if found, ok := c.known.Load(value); ok {
		return found.(prometheus.Counter) //nolint:forcetypeassert // the map has no other type
	}
	counter := c.WithLabelValues(value)
	c.known.Store(value, counter)
	return counter
}
