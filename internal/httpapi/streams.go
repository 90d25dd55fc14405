package httpapi

import (
	"context"
	"sync"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// Bounds on streams of events and logs that are open with other tokens than the operator's.
const (
	streamsPerSession = 8
	defaultStreams    = 1024 // of all sessions
	streamRetry       = 10 * time.Second
)

// streams counts those streams. The client decides how long each holds a connection, so that without a bound one session's token
// could use up the connections of all clients.
type streams struct {
	most int // of all sessions

	mu   sync.Mutex
	open map[session.ID]int // no entry: none
	all  int
}

func newStreams(most int) *streams { return &streams{most: most, open: map[session.ID]int{}} }

// take counts one more stream, which release ends; it fails if the limit of the session or of all sessions is reached.
func (s *streams) take(id session.ID) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// One session cannot use all of them, however low the limit.
	if s.open[id] >= min(streamsPerSession, (s.most+1)/2) {
		return nil, session.Errorf(session.CodeLimit, "this session has as many streams of events and logs open as it may; close one, or try again later").After(streamRetry)
	}
	if s.all >= s.most {
		return nil, session.Errorf(session.CodeLimit, "as many streams of events and logs are open as may be with other tokens than the operator's; try again later").After(streamRetry)
	}
	s.open[id]++
	s.all++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.open[id]--; s.open[id] == 0 {
			delete(s.open, id)
		}
	}), nil
}

// beginStream counts a stream of a session that its client can keep open, until release is called. The operator's are not bounded.
func (a *API) beginStream(ctx context.Context, id session.ID) (release func(), err error) {
	if access.PrincipalOf(ctx).Kind == access.Operator {
		return func() {}, nil
	}
	if release, err = a.streams.take(id); err == nil {
		a.Streaming(ctx)
	}
	return release, err
}
