package proxy

import (
	"context"
	"sync"
	"time"
)

// grant is how long requests that one token has let in may go on: until the token expires, its grace ends, or it is
// replaced. A route that is set anew keeps the pass of a token that it keeps, and with it the requests.
//
// It costs a timer and no goroutine. The timer looks at the clock at least every [grantCheckInterval], so that requests end at the
// latest so long after their token when somebody sets the clock forward, and otherwise with it.
type grant struct {
	digest string
	ctx    context.Context //nolint:containedctx // not a request's: every request of the pass ends with it
	revoke context.CancelCauseFunc

	mu           sync.Mutex
	expires      time.Time   // zero: never
	expiredCause error       // the cause when it expires
	timer        *time.Timer // nil: none is needed
	ended        bool
}

const grantCheckInterval = time.Minute

func newGrant(digest string) *grant {
	p := &grant{digest: digest}
	p.ctx, p.revoke = context.WithCancelCause(context.Background())
	return p
}

// until sets when the pass ends, and why then. It reports false for one that has ended already.
func (p *grant) until(expires time.Time, over error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false
	}
	p.expires, p.expiredCause = expires, over
	p.scheduleExpiry()
	return true
}

// scheduleExpiry ends the pass if its time has come, and otherwise sees to it that somebody looks again. The caller holds mu.
func (p *grant) scheduleExpiry() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if p.ended || p.expires.IsZero() {
		return
	}
	left := time.Until(p.expires)
	if left <= 0 {
		p.ended = true
		p.revoke(p.expiredCause)
		return
	}
	p.timer = time.AfterFunc(min(left, grantCheckInterval), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.scheduleExpiry()
	})
}

// end ends the requests of the pass.
func (p *grant) end(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.scheduleExpiry() // stops the timer
	p.revoke(cause)
}

// inherit takes over the passes of tokens that the entry still knows, whether as the present one or the previous.
func (e *entry) inherit(old *entry) {
	for _, p := range []*grant{old.present, old.previous} {
		switch {
		case p == nil:
		case p.digest == e.route.Token.Digest:
			e.present = p
		case p.digest == e.route.Token.PreviousDigest:
			e.previous = p
		}
	}
}

// issue makes the passes that are missing, and sets when each ends.
func (e *entry) issue() {
	r := e.route
	e.present = e.present.renewed(r.Token.Digest, r.Token.ExpiresAt, errExpired)
	e.previous = e.previous.renewed(r.Token.PreviousDigest, r.Token.PreviousExpiresAt, errRotated)
}

// renewed is the pass with another end, or a new one where there is none or it has ended; nil for no digest.
func (p *grant) renewed(digest string, expires time.Time, over error) *grant {
	if digest == "" || p != nil && p.until(expires, over) {
		return p
	}
	p = newGrant(digest)
	p.until(expires, over)
	return p
}
