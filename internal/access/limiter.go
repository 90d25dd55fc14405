package access

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter is one token bucket for each key. It is safe for concurrent use. Its memory is bounded: the
// least recently used key is evicted first, and starts with a full bucket when it is used again.
type Limiter[K comparable] struct {
	burst int
	every time.Duration
	most  int

	mu     sync.Mutex
	known  map[K]*list.Element
	recent *list.List // of *bucket[K], the most recently used first
}

type bucket[K comparable] struct {
	key  K
	left *rate.Limiter
}

// NewLimiter allows each key burst events at once and then one in every; it remembers most keys.
func NewLimiter[K comparable](burst int, every time.Duration, most int) *Limiter[K] {
	return &Limiter[K]{burst: burst, every: every, most: most, known: map[K]*list.Element{}, recent: list.New()}
}

// Take counts an event and returns how long it is until the next one would be allowed; 0: this one was.
func (l *Limiter[K]) Take(key K) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	left := l.bucketOf(key)
	if left.AllowN(now, 1) {
		return 0
	}
	return l.wait(left, now)
}

// Exhausted reports whether an event would not be allowed now. It counts nothing.
func (l *Limiter[K]) Exhausted(key K) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.known[key]
	return ok && l.wait(e.Value.(*bucket[K]).left, time.Now()) > 0 //nolint:forcetypeassert // nothing else is in the list
}

// wait is how long it is until there is one token more in the bucket.
func (l *Limiter[K]) wait(left *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - left.TokensAt(now)
	return max(0, time.Duration(missing*float64(l.every)))
}

// bucketOf returns the bucket of a key. The caller holds mu.
func (l *Limiter[K]) bucketOf(key K) *rate.Limiter {
	if e, ok := l.known[key]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket[K]).left //nolint:forcetypeassert // nothing else is in the list
	}
	if l.recent.Len() >= l.most {
		oldest := l.recent.Back()
		delete(l.known, l.recent.Remove(oldest).(*bucket[K]).key) //nolint:forcetypeassert // nothing else is in the list
	}
	b := &bucket[K]{key: key, left: rate.NewLimiter(rate.Every(l.every), l.burst)}
	l.known[key] = l.recent.PushFront(b)
	return b.left
}
