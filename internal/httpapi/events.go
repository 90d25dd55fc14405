package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/session"
)

// heartbeat is the interval of heartbeats in a stream of events.
const heartbeat = 15 * time.Second

// retryEvents is the delay before a stream retries to read a session from the store.
const retryEvents = time.Second

// Events are the past events of a session.
type Events struct {
	Events []session.Event `json:"events" doc:"the oldest first"`
}

// sessionEvents responds with the past events, and in a stream also with new ones.
func (a *API) sessionEvents(ctx context.Context, in *struct {
	IDParam
	Accept string `header:"Accept"`
},
) (*huma.StreamResponse, error) {
	stream, release := strings.Contains(in.Accept, "text/event-stream"), func() {}
	if stream {
		var err error
		if release, err = a.beginStream(ctx, in.ID); err != nil {
			return nil, err
		}
	}
	// Before the first read, so that no change is missed between the two.
	changed, stopListening := a.Sessions.Listen(in.ID)
	stop := func() { stopListening(); release() }
	s, err := a.Sessions.Get(ctx, in.ID)
	if err != nil || !stream {
		stop()
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			ctx.SetHeader("Content-Type", "application/json")
			_ = json.NewEncoder(ctx.BodyWriter()).Encode(Events{append([]session.Event{}, s.Timeline...)}) // the client has closed the connection
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

// followEvents writes events as they happen, until the caller disconnects, the session is deleted, this server drains, or the
// caller's token is no longer valid: at once when it is replaced, with the next heartbeat when it has expired.
func (a *API) followEvents(ctx context.Context, w io.Writer, s session.Session, changed <-chan struct{}) {
	flush := flusher(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var last session.Event
	var retry <-chan time.Time
	for {
		for _, event := range s.EventsSince(last) {
			last = event
			text, err := json.Marshal(event)
			if err == nil {
				_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event.Type, text)
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
			retry = time.After(retryEvents) // the change is notified only once
		}
		if !a.stillAuthorized(ctx, s) {
			return
		}
	}
}
