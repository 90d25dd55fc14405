package session

import (
	"context"
	"slices"
	"time"
)

// Event is something that happened to a session.
type Event struct {
	At     time.Time `json:"at"`
	Type   EventType `json:"what"`
	By     string    `json:"by"`               // its actor; see [ActorOf]
	Reason string    `json:"reason,omitempty"` // a phrase without a full stop; may be empty
}

func (m Event) equal(o Event) bool {
	return m.At.Equal(o.At) && m.Type == o.Type && m.By == o.By && m.Reason == o.Reason
}

// EventsSince returns the events that were added after last, and all that are kept if last is not among them. Times are not used
// for the order: clocks may be set back, and those of several processes differ.
func (s Session) EventsSince(last Event) []Event {
	for i, m := range slices.Backward(s.Timeline) {
		if m.equal(last) {
			return s.Timeline[i+1:]
		}
	}
	return s.Timeline
}

type actorKey struct{}

// WithActor returns a context with an actor.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf returns the actor of ctx: "operator", "token:NAME", "owner:NAME", "user" for whoever has the session's token, or "berth"
// for automatic operations.
func ActorOf(ctx context.Context) string {
	if actor, ok := ctx.Value(actorKey{}).(string); ok {
		return actor
	}
	return ActorBerth
}

// ActorBerth is the actor of automatic operations.
const ActorBerth = "berth"
