package proxy

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/origin"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// Causes with which requests in flight end. The client gets the cause as its response if that has not started.
var (
	errRotated = session.Errorf(session.CodeUnauthorized, "the session's token was replaced; use the new one")
	errRemoved = session.Errorf(session.CodeNotFound, "the session has been deleted")
	errStopped = session.Errorf(session.CodeNotRunning,
		"the session has been stopped; ask whoever gave it to you to start it, then try again").After(policy.NotRunningRetry)
	errMoved  = session.Errorf(session.CodeUpstream, "the session's server has been restarted; try again").After(time.Second)
	errClosed = errShuttingDown
)

// Table holds the routes in memory, and with each running session the connections to its server. It is safe for
// concurrent use; requests find their route without a lock. The zero value is empty.
type Table struct {
	mu      sync.Mutex // held by changes
	entries sync.Map   // *entry by session.ID
	derived sync.Map   // session.ID by label, of IDs that are not labels of host names
}

var _ session.Routes = (*Table)(nil)

// NewTable returns an empty table.
func NewTable() *Table { return new(Table) }

// entry is a route prepared for use. It is immutable; Set replaces it. State that survives a replacement is in upstream and use.
type entry struct {
	route    *policy.Route
	upstream *upstream // nil while the session is not running
	use      *use      // the same for all entries of a session

	// The grants of the present and the previous token; nil without such a token.
	present, previous *grant
	signedIn          map[string]*grant // by the ID of a browser's sign-in
}

// grants returns all grants of the entry.
func (e *entry) grants() []*grant {
	all := slices.Collect(maps.Values(e.signedIn))
	for _, g := range []*grant{e.present, e.previous} {
		if g != nil {
			all = append(all, g)
		}
	}
	return all
}

// use is a session's share of the common budget, the time of its last activity, and its wakes that no request waits for.
type use struct {
	wakes    backgroundWakes
	inFlight share        // requests
	touched  atomic.Int64 // Unix nanoseconds of the last Touch
}

// Set adds or replaces a route. Requests in flight continue unless the token was replaced, the session was stopped or it has
// another server: then they end at once, and all connections to the previous server are closed.
func (t *Table) Set(r session.Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.entry(r.ID)
	next := &entry{route: policy.NewRoute(r), use: new(use), signedIn: make(map[string]*grant, len(r.SignIns))}
	if old != nil {
		next.use = old.use
	}
	cause := errRotated
	switch {
	case old != nil && old.upstream != nil && r.Running && old.route.SameServer(next.route):
		next.upstream = old.upstream
		next.inherit(old)
	case r.Running:
		next.upstream = newUpstream()
		cause = errMoved
	case !r.StartsAt.IsZero():
		cause = next.route.NotRunning(time.Now())
	default:
		cause = errStopped
	}
	next.issue()
	if label := origin.Label(r.ID); origin.IsDerived(label) {
		t.derived.Store(label, r.ID)
	}
	t.entries.Store(r.ID, next)
	if old != nil {
		old.end(cause, next)
	}
}

// end ends every request of the entry and closes its server's connections, except those that its successor takes over. The
// order matters: requests whose connection was closed read the cause from their grant.
func (e *entry) end(cause error, next *entry) {
	kept := next.grants()
	for _, g := range e.grants() {
		if !slices.Contains(kept, g) {
			g.end(cause)
		}
	}
	if e.upstream != nil && e.upstream != next.upstream {
		e.upstream.close()
	}
}

// Remove removes the session's route and ends its requests. An unknown ID is ignored.
func (t *Table) Remove(id session.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(id, errRemoved)
}

// Close removes every route, ends all requests and closes all connections.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.all() {
		t.remove(e.route.ID, errClosed)
	}
}

func (t *Table) remove(id session.ID, cause error) {
	if old := t.entry(id); old != nil {
		t.entries.Delete(id)
		t.derived.Delete(origin.Label(id))
		old.end(cause, &entry{})
	}
}

// stop ends the requests of all sessions, or only the streams, and keeps the routes.
func (t *Table) stop(cause error, streamsOnly bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.all() {
		for _, g := range e.grants() {
			g.stop(cause, streamsOnly)
		}
	}
}

// Lookup returns the route of a session and whether there is one.
func (t *Table) Lookup(id session.ID) (session.Route, bool) {
	if e := t.entry(id); e != nil {
		return e.route.Route, true
	}
	return session.Route{}, false
}

// labelled returns the ID of the session with this label of a host name, whether or not there is one; "": there can be none.
func (t *Table) labelled(label string) session.ID {
	if origin.IsDerived(label) {
		found, _ := t.derived.Load(label)
		id, _ := found.(session.ID)
		return id
	}
	id, err := session.ParseID(label)
	if err != nil {
		return ""
	}
	return id
}

// entry returns nil if there is none.
func (t *Table) entry(id session.ID) *entry {
	e, _ := t.entries.Load(id)
	found, _ := e.(*entry)
	return found
}

// all returns the entries of all sessions. The caller holds mu.
func (t *Table) all() []*entry {
	var all []*entry
	for _, e := range t.entries.Range {
		all = append(all, e.(*entry)) //nolint:forcetypeassert // the map has no other type
	}
	return all
}

// touchEvery is the least time between two reports of a session's activity.
const touchEvery = time.Second

// touchDue reports whether touchEvery has passed since the last touch, and if so records this one.
func (u *use) touchDue(now time.Time) bool {
	last := u.touched.Load()
	return now.UnixNano()-last >= int64(touchEvery) && u.touched.CompareAndSwap(last, now.UnixNano())
}
