package lifecycle

import (
	"context"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// maxEvents is how many milestones of a session are kept.
const maxEvents = 25

// addEvent adds what happens to the timeline of a session that is about to be recorded.
func addEvent(s *session.Session, now time.Time, what session.EventType, by, reason string) {
	timeline := slices.Clone(s.Timeline)
	if extra := len(timeline) + 1 - maxEvents; extra > 0 {
		timeline = timeline[extra:]
	}
	s.Timeline = append(timeline, session.Event{At: now, Type: what, By: by, Reason: reason})
}

// appendEvent is addEvent at this moment, for who acts in ctx.
func (m *Manager) appendEvent(ctx context.Context, s *session.Session, what session.EventType, reason string) {
	addEvent(s, m.now(), what, session.ActorOf(ctx), reason)
}

// Notice is what operators want to hear of at once: a session that has failed, was restarted, or ran out of memory.
type Notice struct {
	At       time.Time         `json:"at"`
	Type     session.EventType `json:"event"` // [EventUnhealthy], [EventOutOfMemory], [EventRestarted] or [EventFailed]
	Session  session.ID        `json:"session_id"`
	Owner    string            `json:"owner,omitempty"`
	Cause    Cause             `json:"cause,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Restarts int               `json:"restart_count"`
}

// Report is one thing that the Manager tells of. One of its parts is set.
type Report struct {
	Operation *OperationResult // how something went that was done to a session, or that it was refused; ctx says for whom
	Notice    *Notice          // what operators want to know at once
	Rejected  error            // a CodeLimit or CodePressure error of a create, start or wake
	Swept     int              // how many digests of expired tokens were removed
}

// Sink takes every report: the audit trail, metrics and the webhook are fed from there. Emit must not wait.
type Sink interface {
	Emit(ctx context.Context, r Report)
}

// SinkFunc is a function that is a [Sink].
type SinkFunc func(ctx context.Context, r Report)

// Emit calls f.
func (f SinkFunc) Emit(ctx context.Context, r Report) { f(ctx, r) }

func (m *Manager) emit(ctx context.Context, r Report) {
	if m.opts.Sink != nil {
		m.opts.Sink.Emit(ctx, r)
	}
}

// observe reports how something went.
func (m *Manager) observe(ctx context.Context, p OperationResult) { m.emit(ctx, Report{Operation: &p}) }

// notify reports what operators want to know at once.
func (m *Manager) notify(ctx context.Context, s session.Session, what session.EventType, cause Cause, reason string) {
	m.emit(ctx, Report{Notice: &Notice{At: m.now(), Type: what, Session: s.ID, Owner: s.Owner, Cause: cause, Reason: reason, Restarts: s.RestartCount}})
}

// subscribers is who wants to hear of changes of sessions.
type subscribers struct {
	mu        sync.Mutex
	listeners map[session.ID]map[chan struct{}]struct{}
}

// notify wakes those who listen to a session.
func (a *subscribers) notify(id session.ID) {
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
func (m *Manager) Listen(id session.ID) (changed <-chan struct{}, stop func()) {
	a := &m.subscribers
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
