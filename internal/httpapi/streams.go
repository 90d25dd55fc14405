package httpapi

import (
	"sync"
	"time"

	"berth/internal/session"
)

// Bounds on streams of events that are open with sessions' own tokens.
const (
	streamsPerSession = 8
	defaultStreams    = 1024 // of all sessions
	streamRetry       = 10 * time.Second
)

// streams counts the event streams that are open with sessions' own tokens. The client decides how long each holds a connection,
// so that without a bound one session's token could use up the connections of all clients.
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
		return nil, session.Errorf(session.CodeLimit, "this session has as many streams of events as may be open with its token; close one, or try again later").After(streamRetry)
	}
	if s.all >= s.most {
		return nil, session.Errorf(session.CodeLimit, "as many streams of events are open as sessions' tokens may hold; try again later").After(streamRetry)
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
