package egress

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"berth/internal/session"
)

const (
	repeatInterval = time.Minute // within which the same refusal is reported once
	maxNotices     = 4096        // refusals that are remembered, of all sessions
	noticeBurst    = 60          // reports of one session at once
	noticeRate     = 1           // further ones per second
)

// notifier reports refusals without letting a session flood those who read them: an agent that tries the same host again and again is
// reported once a minute, and one that tries a thousand hosts is reported for the first ones.
type notifier struct {
	callback func(ctx context.Context, caller session.Caller, rule, what string)
	now      func() time.Time

	mu      sync.Mutex
	seen    map[notice]time.Time // when it was reported
	budgets map[session.ID]*rate.Limiter
}

type notice struct {
	session session.ID
	what    string
}

func newNotifier(report func(context.Context, session.Caller, string, string)) *notifier {
	return &notifier{callback: report, now: time.Now, seen: map[notice]time.Time{}, budgets: map[session.ID]*rate.Limiter{}}
}

func (n *notifier) report(ctx context.Context, caller session.Caller, v Verdict) {
	if n.callback != nil && n.isDue(caller.Session, v.Sentence) {
		n.callback(context.WithoutCancel(ctx), caller, string(v.Reason), v.Sentence)
	}
}

func (n *notifier) isDue(id session.ID, what string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	key := notice{id, what}
	if at, ok := n.seen[key]; ok && now.Sub(at) < repeatInterval {
		return false
	}
	budget := n.budgets[id]
	if budget == nil {
		if len(n.budgets) >= maxNotices {
			clear(n.budgets)
		}
		budget = rate.NewLimiter(noticeRate, noticeBurst)
		n.budgets[id] = budget
	}
	if !budget.AllowN(now, 1) {
		return false
	}
	if len(n.seen) >= maxNotices {
		for k, at := range n.seen {
			if now.Sub(at) >= repeatInterval {
				delete(n.seen, k)
			}
		}
		if len(n.seen) >= maxNotices {
			clear(n.seen) // some are reported twice
		}
	}
	n.seen[key] = now
	return true
}

func (n *notifier) forget(id session.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.budgets, id)
	for k := range n.seen {
		if k.session == id {
			delete(n.seen, k)
		}
	}
}
