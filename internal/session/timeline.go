package session

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Milestone is something that happened to a session.
type Milestone struct {
	At     time.Time `json:"at"`
	What   Happening `json:"what"`
	By     string    `json:"by"`               // who wished it: "operator", "user", or "berth" of its own accord
	Reason string    `json:"reason,omitempty"` // half a sentence; empty where there is nothing to say
}

func (m Milestone) equal(o Milestone) bool {
	return m.At.Equal(o.At) && m.What == o.What && m.By == o.By && m.Reason == o.Reason
}

// Since returns the milestones that were added after last; all that are remembered when last is not among them. Their
// times do not order them: clocks are set back, and those of several processes differ.
func (s Session) Since(last Milestone) []Milestone {
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
	var last Milestone
	if n := len(base.Timeline); n > 0 {
		last = base.Timeline[n-1]
	}
	for _, m := range slices.Backward(s.Since(last)) {
		if m.By != self && m.What != Rotated {
			return m.At
		}
	}
	return time.Time{}
}

// remembered is how many milestones of a session are kept.
const remembered = 25

// mark adds a milestone to a session that is about to be recorded.
func (m *Manager) mark(ctx context.Context, s *Session, what Happening, reason string) {
	timeline := slices.Clone(s.Timeline)
	if extra := len(timeline) + 1 - remembered; extra > 0 {
		timeline = timeline[extra:]
	}
	s.Timeline = append(timeline, Milestone{At: m.now(), What: what, By: ActorOf(ctx), Reason: reason})
}

// wasLast reports whether this is the last thing that happened to a session, new tokens aside.
func (s Session) wasLast(what Happening, reason string) bool {
	for _, m := range slices.Backward(s.Timeline) {
		if m.What != Rotated {
			return m.What == what && m.Reason == reason
		}
	}
	return false
}

// Notice is what operators want to hear of at once: a session that has failed, was restarted, or ran out of memory.
type Notice struct {
	At       time.Time `json:"at"`
	What     Happening `json:"event"` // [Ailing], [Starved], [Restarted] or [Broken]
	Session  ID        `json:"session_id"`
	Owner    string    `json:"owner,omitempty"`
	Cause    Cause     `json:"cause,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Restarts int       `json:"restart_count"`
}

// notify tells the operator, if he wants to hear it.
func (m *Manager) notify(s Session, what Happening, cause Cause, reason string) {
	if m.opts.Notify != nil {
		m.opts.Notify(Notice{At: m.now(), What: what, Session: s.ID, Owner: s.Owner, Cause: cause, Reason: reason, Restarts: s.RestartCount})
	}
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
	return self
}

// self is who does what nobody has asked for.
const self = "berth"

// audience is who wants to hear of changes of sessions.
type audience struct {
	mu        sync.Mutex
	listeners map[ID]map[chan struct{}]struct{}
}

// tell wakes those who listen to a session.
func (a *audience) tell(id ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range a.listeners[id] {
		select {
		case l <- struct{}{}:
		default: // has not heard of the last one yet
		}
	}
}

// Listen returns a channel that holds a token whenever the session may have changed, on any process, until stop is called.
func (m *Manager) Listen(id ID) (changed <-chan struct{}, stop func()) {
	a := &m.audience
	l := make(chan struct{}, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listeners[id] == nil {
		a.listeners[id] = map[chan struct{}]struct{}{}
	}
	a.listeners[id][l] = struct{}{}
	return l, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if delete(a.listeners[id], l); len(a.listeners[id]) == 0 {
			delete(a.listeners, id)
		}
	}
}
