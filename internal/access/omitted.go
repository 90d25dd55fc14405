package access

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"berth/internal/session"
)

// source is what omitted records are counted by: the address of requests without a valid token, or the holder of the token.
type source struct {
	site    netip.Addr
	session session.ID
	actor   string // empty: anonymous
	outcome string
}

const (
	// omittedEvery is how often the omitted are written.
	omittedEvery = time.Minute
	// mostSources bounds the lines of one interval; of the rest there is one sum.
	mostSources = 1024
)

// Run writes in intervals what was omitted, until ctx ends; background gives each time a context of its own.
func (t *Trail) Run(ctx context.Context, background func(context.Context) context.Context) error {
	tick := time.NewTicker(omittedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.WriteOmitted(background(ctx))
		}
	}
}

// omit counts what gets no record of its own.
func (t *Trail) omit(from source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.omitted[from]; !known && len(t.omitted) >= mostSources {
		from = source{outcome: from.outcome}
	}
	t.omitted[from]++
}

// WriteOmitted writes how many records were left out since the last time, by address or session.
func (t *Trail) WriteOmitted(ctx context.Context) {
	t.mu.Lock()
	omitted := t.omitted
	t.omitted = map[source]int{}
	t.mu.Unlock()
	for from, n := range omitted {
		remote := "others"
		switch {
		case from.site.IsValid():
			remote = from.site.String()
		case from.actor != "":
			remote = ""
		}
		actor := from.actor
		switch {
		case actor != "":
		case from.outcome == OK:
			actor = Principal{Kind: SessionToken}.Actor()
		default:
			actor = Principal{}.Actor()
		}
		ctx := session.WithActor(WithClient(ctx, &Client{Address: remote}), actor)
		write(ctx, t.rejections, authenticate, from.session, from.outcome, slog.Int("omitted", n))
	}
}
