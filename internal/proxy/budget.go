package proxy

import "sync/atomic"

// budget is how much of a resource, such as connections, all sessions may hold together. However few are left, a session
// gets no more of them than it leaves to others: one that takes all it can ends with half, a second such with half of
// the rest, and some is left for the next session. It takes no lock, because every request uses it.
type budget struct {
	total int64 // 0: unlimited
	used  atomic.Int64
}

// share is what one session holds of a budget.
type share struct{ held atomic.Int64 }

// take adds one to the share, unless that would be more than most or more than is left to others.
func (b *budget) take(s *share, most int) bool {
	held := s.held.Add(1) - 1
	if held >= int64(most) {
		s.held.Add(-1)
		return false
	}
	for b.total > 0 {
		used := b.used.Load()
		if held >= b.total-used {
			s.held.Add(-1)
			return false
		}
		if b.used.CompareAndSwap(used, used+1) {
			break
		}
	}
	return true
}

// give takes one from the share.
func (b *budget) give(s *share) {
	s.held.Add(-1)
	if b.total > 0 {
		b.used.Add(-1)
	}
}
