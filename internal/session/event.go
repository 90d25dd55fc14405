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
	By     string    `json:"by"`               // who wished it: "operator", "user", or "berth" of its own accord
	Reason string    `json:"reason,omitempty"` // half a sentence; empty where there is nothing to say
}

func (m Event) equal(o Event) bool {
	return m.At.Equal(o.At) && m.Type == o.Type && m.By == o.By && m.Reason == o.Reason
}

// EventsSince returns the milestones that were added after last; all that are remembered when last is not among them. Their
// times do not order them: clocks are set back, and those of several processes differ.
func (s Session) EventsSince(last Event) []Event {
	for i, m := range slices.Backward(s.Timeline) {
		if m.equal(last) {
			return s.Timeline[i+1:]
		}
	}
	return s.Timeline
}

// RequestedSince returns when somebody's last request took effect on the session that is not in the timeline of base, an
// earlier version of it. What Berth did by itself does not count, and neither does a new token. Zero: nobody asked.
func (s Session) RequestedSince(base Session) time.Time {
	var last Event
	if n := len(base.Timeline); n > 0 {
		last = base.Timeline[n-1]
	}
	for _, m := range slices.Backward(s.EventsSince(last)) {
		if m.By != ActorBerth && m.Type != EventRotated {
			return m.At
		}
	}
	return time.Time{}
}

// LastEventIs reports whether this is the last thing that happened to a session, new tokens aside.
func (s Session) LastEventIs(what EventType, reason string) bool {
	for _, m := range slices.Backward(s.Timeline) {
		if m.Type != EventRotated {
			return m.Type == what && m.Reason == reason
		}
	}
	return false
}

// HasFailedFor reports whether a failure for this reason is among the failures in a row that happened to a session last.
func (s Session) HasFailedFor(reason string) bool {
	for _, m := range slices.Backward(s.Timeline) {
		switch {
		case m.Type == EventFailed && m.Reason == reason:
			return true
		case m.Type != EventFailed && m.Type != EventRotated:
			return false
		}
	}
	return false
}

type actorKey struct{}

// WithActor says on whose wish what is done with ctx is done.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf is on whose wish what is done with ctx is done: "operator", "user", or "berth" of its own accord.
func ActorOf(ctx context.Context) string {
	if actor, ok := ctx.Value(actorKey{}).(string); ok {
		return actor
	}
	return ActorBerth
}

// ActorBerth is who does what nobody has asked for.
const ActorBerth = "berth"
