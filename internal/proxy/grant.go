package proxy

import (
	"sync"
	"time"
)

// grant holds the requests that were admitted with one token or sign-in. It ends when the token expires, when its grace period ends, or when
// it is replaced; its requests end with it. A route that is set again with the same token keeps the grant, and with it the
// requests.
//
// It costs a timer and no goroutine. The timer checks the clock at least every [grantCheckInterval], so that after the clock is
// set forward, requests end at most that long after their token.
type grant struct {
	digest string

	mu           sync.Mutex
	calls        map[*call]struct{} // admitted with the grant
	cause        error              // why it has ended; nil: it is valid
	expires      time.Time          // zero: never
	expiredCause error              // the cause when it expires
	timer        *time.Timer        // nil: none is needed
}

const grantCheckInterval = time.Minute

func newGrant(digest string) *grant {
	return &grant{digest: digest, calls: make(map[*call]struct{})}
}

// join adds the call to the grant. It returns the cause if the grant has ended.
func (g *grant) join(c *call) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == nil {
		g.calls[c] = struct{}{}
	}
	return g.cause
}

func (g *grant) leave(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.calls, c)
}

// until sets the time and the cause of the grant's end. It reports false if the grant has ended already.
func (g *grant) until(expires time.Time, cause error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil {
		return false
	}
	g.expires, g.expiredCause = expires, cause
	g.scheduleExpiry()
	return true
}

// scheduleExpiry ends the grant if it has expired, and otherwise sets the timer. The caller holds mu.
func (g *grant) scheduleExpiry() {
	g.stopTimer()
	if g.cause != nil || g.expires.IsZero() {
		return
	}
	left := time.Until(g.expires)
	if left <= 0 {
		g.endLocked(g.expiredCause)
		return
	}
	g.timer = time.AfterFunc(min(left, grantCheckInterval), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.scheduleExpiry()
	})
}

func (g *grant) stopTimer() {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
}

// end ends the grant and its requests.
func (g *grant) end(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endLocked(cause)
}

func (g *grant) endLocked(cause error) {
	if g.cause == nil {
		g.cause = cause
	}
	g.stopTimer()
	for c := range g.calls {
		c.stop(g.cause)
	}
}

// stop ends the requests of the grant, or only its streams; the grant admits further ones.
func (g *grant) stop(cause error, streamsOnly bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.calls {
		if streamsOnly {
			c.stopStream(cause)
		} else {
			c.stop(cause)
		}
	}
}

// inherit takes over the grants of tokens that the entry still has, as its present or previous one.
func (e *entry) inherit(old *entry) {
	for _, in := range e.route.SignIns {
		if g := old.signedIn[in.ID]; g != nil && g.digest == in.Digest {
			e.signedIn[in.ID] = g
		}
	}
	for _, g := range []*grant{old.present, old.previous} {
		switch {
		case g == nil:
		case g.digest == e.route.Token.Digest:
			e.present = g
		case g.digest == e.route.Token.PreviousDigest:
			e.previous = g
		}
	}
}

// issue makes missing grants, and sets the end of each.
func (e *entry) issue() {
	t := e.route.Token
	e.present = e.present.renewed(t.Digest, t.ExpiresAt, errExpired)
	e.previous = e.previous.renewed(t.PreviousDigest, t.PreviousExpiresAt, errRotated)
	for _, in := range e.route.SignIns {
		e.signedIn[in.ID] = e.signedIn[in.ID].renewed(in.Digest, in.ExpiresAt, errSignedOut)
	}
}

// renewed returns the grant with another end, or a new one if there is none or it has ended; nil without a digest.
func (g *grant) renewed(digest string, expires time.Time, cause error) *grant {
	if digest == "" || g != nil && g.until(expires, cause) {
		return g
	}
	g = newGrant(digest)
	g.until(expires, cause)
	return g
}
