package egress

import (
	"slices"
	"sync/atomic"
)

// counters are what the Relay has done since it was made.
type counters struct {
	connections atomic.Uint64
	sent        atomic.Uint64
	received    atomic.Uint64
	queries     atomic.Uint64
	failures    atomic.Uint64
	refusals    [16]atomic.Uint64 // by the index in reasons
}

// Stats are the counters of a Relay, for metrics.
type Stats struct {
	Open        int               // connections and requests in progress
	Connections uint64            // connections and requests that were admitted
	Sent        uint64            // bytes from sessions to targets
	Received    uint64            // bytes from targets to sessions
	Queries     uint64            // questions of DNS that were answered
	Failures    uint64            // targets that were allowed and could not be reached
	Refusals    map[Reason]uint64 // every reason has an entry
}

func (c *counters) refused(reason Reason) {
	if i := slices.Index(reasons, reason); i >= 0 {
		c.refusals[i].Add(1)
	}
}

// Stats returns the counters.
func (r *Relay) Stats() Stats {
	s := Stats{
		Open:        r.streams.count(),
		Connections: r.stats.connections.Load(),
		Sent:        r.stats.sent.Load(),
		Received:    r.stats.received.Load(),
		Queries:     r.stats.queries.Load(),
		Failures:    r.stats.failures.Load(),
		Refusals:    make(map[Reason]uint64, len(reasons)),
	}
	for i, reason := range reasons {
		s.Refusals[reason] = r.stats.refusals[i].Load()
	}
	return s
}
