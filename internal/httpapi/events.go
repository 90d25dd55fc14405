package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/access"
	"berth/internal/session"
)

// heartbeat is how often a stream of events says that it is alive.
const heartbeat = 15 * time.Second

// retryEvents is when a stream reads a session again that the store could not give.
const retryEvents = time.Second

// Events is what happened to a session.
type Events struct {
	Events []session.Event `json:"events" doc:"the oldest first"`
}

// sessionEvents answers with what has happened, and in a stream also with what happens.
func (a *API) sessionEvents(ctx context.Context, in *struct {
	IDParam
	Accept string `header:"Accept"`
},
) (*huma.StreamResponse, error) {
	stream, release := strings.Contains(in.Accept, "text/event-stream"), func() {}
	if stream && access.PrincipalOf(ctx).Kind != access.Operator {
		var err error
		if release, err = a.streams.take(in.ID); err != nil {
			return nil, err
		}
		a.Streaming(ctx)
	}
	// Before the first look, so that nothing falls between the two.
	changed, deafen := a.Sessions.Listen(in.ID)
	stop := func() { deafen(); release() }
	s, err := a.Sessions.Get(ctx, in.ID)
	if err != nil || !stream {
		stop()
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			ctx.SetHeader("Content-Type", "application/json")
			_ = json.NewEncoder(ctx.BodyWriter()).Encode(Events{append([]session.Event{}, s.Timeline...)}) // a client that is gone
		}}, nil
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer stop()
		ctx.SetHeader("Content-Type", "text/event-stream")
		ctx.SetHeader("Cache-Control", "no-store")
		ctx.SetHeader("X-Accel-Buffering", "no")
		a.followEvents(ctx.Context(), ctx.BodyWriter(), s, changed)
	}}, nil
}

// followEvents writes milestones as they come, until the caller leaves, the session is gone or this server drains. The
// caller's token is replaced: at once; it has expired: with the next heartbeat.
func (a *API) followEvents(ctx context.Context, w io.Writer, s session.Session, changed <-chan struct{}) {
	flush := flusher(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var last session.Event
	var retry <-chan time.Time
	for {
		for _, m := range s.EventsSince(last) {
			last = m
			text, err := json.Marshal(m)
			if err == nil {
				_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", m.Type, text)
			}
			if err != nil {
				return
			}
		}
		flush()
		select {
		case <-ctx.Done():
			return
		case <-a.Draining:
			return
		case <-beat.C:
			if !a.stillAuthorized(ctx, s) {
				return
			}
			if _, err := io.WriteString(w, ": alive\n\n"); err != nil {
				return
			}
			continue
		case <-changed:
		case <-retry:
		}
		retry = nil
		next, err := a.Sessions.Get(ctx, s.ID)
		switch {
		case err == nil:
			s = next
		case session.CodeOf(err) == session.CodeNotFound:
			return
		default:
			retry = time.After(retryEvents) // the change is not told of twice
		}
		if !a.stillAuthorized(ctx, s) {
			return
		}
	}
}
