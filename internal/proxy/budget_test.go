package proxy

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestBudgetLeavesPartToOtherSessions(t *testing.T) {
	t.Parallel()
	all := func(b *budget, s *share, most int) (taken int) {
		for b.take(s, most) {
			taken++
		}
		return taken
	}
	b := &budget{total: 16}
	var first, second, third share
	if got := all(b, &first, 100); got != 8 {
		t.Errorf("the first session: got %d of 16, want half", got)
	}
	if got := all(b, &second, 100); got != 4 {
		t.Errorf("the second session: got %d of 8, want half", got)
	}
	if got := all(b, &third, 1); got != 1 {
		t.Errorf("a session that may have one: got %d", got)
	}
	b.give(&first)
	b.give(&first)
	if got := all(b, &first, 100); got != 0 {
		t.Errorf("the first session, which has 6 of 16 and leaves 5: got %d more", got)
	}
	if got := all(b, &second, 100); got != 1 {
		t.Errorf("the second session, which has 4 and leaves 5: got %d more, want 1", got)
	}
	var unbounded share
	if got := all(&budget{}, &unbounded, 100); got != 100 {
		t.Errorf("without a total: got %d, want as many as a session may have", got)
	}
}

// Sessions that take and give concurrently never hold more than the total, and nothing at the end.
func TestBudgetIsNotExceededUnderContention(t *testing.T) {
	t.Parallel()
	const total, most = 8, 3
	b := &budget{total: total}
	var held, over atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		s := new(share)
		var own atomic.Int64
		for range 4 {
			all.Go(func() {
				for range 5000 {
					if !b.take(s, most) {
						continue
					}
					if held.Add(1) > total || own.Add(1) > most {
						over.Add(1)
					}
					own.Add(-1)
					held.Add(-1)
					b.give(s)
				}
			})
		}
	}
	all.Wait()
	if over.Load() != 0 {
		t.Errorf("more than %d, or than %d of one session, were held %d times", total, most, over.Load())
	}
	if used := b.used.Load(); used != 0 {
		t.Errorf("%d are in use although all were given back", used)
	}
}
