package egress

import (
	"context"
	"errors"
	"net"
	"sync"

	"berth/internal/session"
)

// errEnded is the cause of a stream's context when the stream is ended from outside.
var errEnded = errors.New("the session is gone, or its list has changed")

// stream is a connection of a session in progress, or a request that is forwarded.
type stream struct {
	caller session.Caller
	target Target // set by to; zero: not yet known

	ctx    context.Context //nolint:containedctx // the stream's own life, which ends with release or from outside
	cancel context.CancelCauseFunc
	owner  *streams
	detach func() bool // from the caller's life
}

// streams are those in progress, with their limits.
type streams struct {
	limits Limits

	mu         sync.Mutex
	all        map[*stream]struct{}
	perSession map[session.ID]int
}

func newStreams(l Limits) *streams {
	return &streams{limits: l, all: map[*stream]struct{}{}, perSession: map[session.ID]int{}}
}

// open counts a stream of a session until release. The verdict is a refusal at a limit.
func (s *streams) open(ctx context.Context, caller session.Caller) (*stream, Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.perSession[caller.Session] >= s.limits.PerSession:
		return nil, refusal(ReasonLimit, "this session has %d connections through the gateway, which is the limit; close some", s.limits.PerSession)
	case len(s.all) >= s.limits.Connections:
		return nil, refusal(ReasonLimit, "the gateway has %d connections, which is its limit; try again later", s.limits.Connections)
	}
	st := &stream{caller: caller, owner: s, detach: func() bool { return false }}
	st.ctx, st.cancel = context.WithCancelCause(ctx)
	s.all[st] = struct{}{}
	s.perSession[caller.Session]++
	return st, Verdict{Allowed: true}
}

// to sets the target of a stream, by which a change of lists is judged.
func (st *stream) to(t Target) {
	st.owner.mu.Lock()
	defer st.owner.mu.Unlock()
	st.target = t
}

// carries reports whether the stream has a target. The owner's lock is held.
func (st *stream) carries() bool { return st.target.Port != 0 }

// closes closes a connection when the stream ends. The returned function undoes it.
func (st *stream) closes(conn net.Conn) (stop func() bool) {
	return context.AfterFunc(st.ctx, func() { conn.Close() })
}

func (st *stream) release() {
	st.detach()
	st.cancel(nil)
	st.owner.mu.Lock()
	defer st.owner.mu.Unlock()
	delete(st.owner.all, st)
	if st.owner.perSession[st.caller.Session]--; st.owner.perSession[st.caller.Session] == 0 {
		delete(st.owner.perSession, st.caller.Session)
	}
}

// end ends the streams for which is holds.
func (s *streams) end(is func(*stream) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.all {
		if is(st) {
			st.cancel(errEnded)
		}
	}
}

func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// admit opens a stream for a caller, which ends with the caller's right to use the gateway.
func (r *Relay) admit(ctx context.Context, caller session.Caller) (*stream, Verdict) {
	st, v := r.streams.open(ctx, caller)
	if !v.Allowed {
		return nil, v
	}
	now, live, ok := r.opts.Identify(caller.Address)
	if !ok || now.Session != caller.Session {
		st.release()
		return nil, refusal(ReasonUnknownCaller, "session %s is not at %s any more", caller.Session, caller.Address)
	}
	st.detach = context.AfterFunc(live, func() { st.cancel(context.Cause(live)) })
	r.stats.connections.Add(1)
	return st, v
}
