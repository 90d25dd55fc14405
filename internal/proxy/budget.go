package proxy

import "sync"

// budget is how much of something all sessions may hold together, such as connections. However few are left, a session
// gets no more of them than it leaves to others: one that takes all it can ends with half, a second such with half of
// the rest, and a newcomer still finds some.
type budget struct {
	mu    sync.Mutex
	total int // 0: unlimited
	used  int
}

// share is what one session holds of a budget, whose mutex guards it.
type share struct{ held int }

// take adds one to the share, unless that would be more than most or more than is left to others.
func (b *budget) take(s *share, most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.held >= most || b.total > 0 && s.held >= b.total-b.used {
		return false
	}
	s.held++
	b.used++
	return true
}

// give takes one from the share.
func (b *budget) give(s *share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.held--
	b.used--
}
