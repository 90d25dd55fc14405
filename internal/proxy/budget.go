package proxy

import "sync/atomic"

// budget is the amount of a resource, such as connections, that all sessions may hold together. A session gets at most as many
// as it leaves to others: the first that takes all it can gets half, the second half of the rest, so that some are left for
// the next session. It takes no lock, because every request uses it.
type budget struct {
	total int64 // 0: unlimited
	used  atomic.Int64
}

// share is the part of a budget that one session holds.
type share struct{ held atomic.Int64 }

// take adds one to the share, unless it would then exceed most or the rest that is left to others.
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
