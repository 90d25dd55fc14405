package app

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"berth/internal/session"
)

// refusals records requests without a valid token, apart from the audit trail's records: whoever can reach Berth can make
// it grow. What exceeds an address's share is counted and written as one line for each address in an interval.
type refusals struct {
	log *slog.Logger

	mu      sync.Mutex
	omitted map[source]int
}

// source is what omitted records are counted by: the address of refused requests, or the session whose token was shown.
type source struct {
	site    netip.Addr
	session session.ID
	outcome string
}

const (
	// omittedEvery is how often the omitted are written.
	omittedEvery = time.Minute
	// mostSources bounds the lines of one interval; of the rest there is one sum.
	mostSources = 1024
)

func newRefusals(log *slog.Logger) *refusals { return &refusals{log: log, omitted: map[source]int{}} }

func (r *refusals) record(ctx context.Context, id session.ID, route string, why session.Standing) {
	writeRecord(session.WithActor(ctx, actorAnonymous), r.log, authenticate, id, refused, slog.String("route", route), slog.String("token", string(why)))
}

// omit counts what gets no record of its own.
func (r *refusals) omit(from source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.omitted[from]; !known && len(r.omitted) >= mostSources {
		from = source{outcome: from.outcome}
	}
	r.omitted[from]++
}

// run writes in intervals what was omitted, until ctx ends.
func (r *refusals) run(ctx context.Context) error {
	tick := time.NewTicker(omittedEvery)
	defer tick.Stop()
	for {
		r.writeOmitted(ownRequest(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// writeOmitted writes how many records were left out since the last time, by address or session.
func (r *refusals) writeOmitted(ctx context.Context) {
	r.mu.Lock()
	omitted := r.omitted
	r.omitted = map[source]int{}
	r.mu.Unlock()
	for from, n := range omitted {
		remote := "others"
		switch {
		case from.site.IsValid():
			remote = from.site.String()
		case from.session != "":
			remote = ""
		}
		by := actorAnonymous
		if from.outcome == wentWell {
			by = actorUser
		}
		writeRecord(session.WithActor(withRemote(ctx, remote), by), r.log, authenticate, from.session, from.outcome, slog.Int("omitted", n))
	}
}
