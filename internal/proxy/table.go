package proxy

import (
	"encoding/base64"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// Why requests in flight end. Each is what a client is told whose answer has not begun.
var (
	errRotated = session.Errorf(session.CodeUnauthorized, "the session's token was replaced; use the new one")
	errRemoved = session.Errorf(session.CodeNotFound, "the session has been deleted")
	errStopped = session.Errorf(session.CodeNotRunning,
		"the session has been stopped; ask whoever gave it to you to start it, then try again").After(notRunningRetry)
	errMoved  = session.Errorf(session.CodeUpstream, "the session's server has been restarted; try again").After(time.Second)
	errClosed = errShuttingDown
)

// Table holds the routes in memory, and with each running session the connections to its server. It is safe for
// concurrent use; the zero value is not ready, see [NewTable].
type Table struct {
	mu      sync.RWMutex
	entries map[session.ID]*entry
}

var _ session.Routes = (*Table)(nil)

// NewTable returns an empty table.
func NewTable() *Table { return &Table{entries: make(map[session.ID]*entry)} }

// entry is a route made ready for use. It never changes; Set replaces it. What must survive that is in upstream.
type entry struct {
	route         session.Route
	authorization session.Secret // the Authorization header for the server
	blocked       []pattern      // calls that nobody may make
	silent        []pattern      // calls that say nothing until they are finished
	upstream      *upstream      // nil while the session is not running
	touched       atomic.Int64   // Unix nanoseconds of the last Touch
	held          *share         // requests in flight; the same for all entries of a session

	// What lets requests in, and how long they may go on. A pass of a digest that is empty is nil.
	present, previous *grant
}

// Set makes the route known. Requests in flight go on unless the token was replaced, the session was stopped or its
// server is another one now: then they end at once, as do all connections to the old server.
func (t *Table) Set(r session.Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.entries[r.ID]
	next := &entry{
		route:         r,
		authorization: session.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte(r.Username+":"+r.Credential.Reveal()))),
		held:          new(share),
	}
	if r.Profile != nil {
		next.blocked, next.silent = parsePatterns(r.Profile.Blocked), parsePatterns(r.Profile.Silent)
	}
	if old != nil {
		next.held = old.held
	}
	cause := errRotated
	switch {
	case old != nil && old.upstream != nil && r.Running && old.sameServer(next):
		next.upstream = old.upstream
		next.inherit(old)
	case r.Running:
		next.upstream = newUpstream()
		cause = errMoved
	case !r.StartsAt.IsZero():
		cause = notRunning(r, time.Now())
	default:
		cause = errStopped
	}
	next.issue()
	t.entries[r.ID] = next
	if old != nil {
		old.end(cause, next)
	}
}

func (e *entry) sameServer(other *entry) bool {
	return e.route.Address == other.route.Address && e.authorization == other.authorization
}

// end ends every request of the entry and closes its server's connections, but for what its successor goes on with. The
// order matters: requests that see their connection closed look for the reason in their pass.
func (e *entry) end(cause error, next *entry) {
	for _, p := range []*grant{e.present, e.previous} {
		if p != nil && p != next.present && p != next.previous {
			p.end(cause)
		}
	}
	if e.upstream != nil && e.upstream != next.upstream {
		e.upstream.close()
	}
}

// Remove forgets the session and ends its requests. An unknown id is nothing to do.
func (t *Table) Remove(id session.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.entries[id]; old != nil {
		delete(t.entries, id)
		old.end(errRemoved, &entry{})
	}
}

// Close forgets every session, ends all requests and closes all connections.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, old := range t.entries {
		delete(t.entries, id)
		old.end(errClosed, &entry{})
	}
}

// Lookup returns the route of a session and whether there is one.
func (t *Table) Lookup(id session.ID) (session.Route, bool) {
	if e := t.entry(id); e != nil {
		return e.route, true
	}
	return session.Route{}, false
}

func (t *Table) entry(id session.ID) *entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.entries[id]
}

// touchEvery is how often flowing bytes count as activity of a session.
const touchEvery = time.Second

// due reports whether the last touch was long enough ago, and counts this one if it was.
func (e *entry) due(now time.Time) bool {
	last := e.touched.Load()
	return now.UnixNano()-last >= int64(touchEvery) && e.touched.CompareAndSwap(last, now.UnixNano())
}
