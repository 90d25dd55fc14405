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
	By     string    `json:"by"`               // who requested it: "operator", "user", or "berth" of its own accord
	Reason string    `json:"reason,omitempty"` // half a sentence; empty where there is nothing to say
}

func (m Event) equal(o Event) bool {
	return m.At.Equal(o.At) && m.Type == o.Type && m.By == o.By && m.Reason == o.Reason
}

// EventsSince returns the events that were added after last; all that are remembered when last is not among them. Their
// times do not order them: clocks are set back, and those of several processes differ.
func (s Session) EventsSince(last Event) []Event {
	for i, m := range slices.Backward(s.Timeline) {
		if m.equal(last) {
			return s.Timeline[i+1:]
		}
	}
	return s.Timeline
}

type actorKey struct{}

// WithActor returns a context in which actor is the one who acts.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf returns who acts in ctx: "operator", "user", or "berth" of its own accord.
func ActorOf(ctx context.Context) string {
	if actor, ok := ctx.Value(actorKey{}).(string); ok {
		return actor
	}
	return ActorBerth
}

// ActorBerth is the actor of automatic operations.
const ActorBerth = "berth"
