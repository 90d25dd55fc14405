package lifecycle

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// publisher pushes routes to the data plane. It keeps what it has published, so that a late publication of an old revision does not
// replace a newer one (a rotated token must stay rejected), and so that a new token needs no inspection of the container.
//
// Its mutex is taken before those of healthRecords, deferredSessions, retries and subscribers, never after one of them.
type publisher struct {
	table       session.Routes
	keys        Keys
	opts        Options
	rules       Rules
	health      *healthRecords
	deferred    *deferredSessions
	retries     *retries
	subscribers *subscribers

	mu        sync.Mutex
	newest    map[session.ID]session.Session // the last published record of each session; read-only
	published map[session.ID]uint64          // sequence number of that publication
	count     uint64                         // of publications so far
	places    map[session.ID]place

	displaced map[session.ID][]string // names of containers of duplicate sessions, until they are removed

	profile map[string]*session.Profile // shared by all routes
}

// isOlder orders the records of one ID. A session that is created again with the same idempotency key has the same ID, and its
// revisions start at 1 again, so that the creation time is compared first.
func isOlder(s, t session.Session) bool {
	return s.CreatedAt.Before(t.CreatedAt) || s.CreatedAt.Equal(t.CreatedAt) && s.Revision < t.Revision
}

// outdated reports whether a newer record than s was published. The caller holds p.mu.
func (p *publisher) outdated(s session.Session) bool {
	return isOlder(s, p.newest[s.ID])
}

// mark returns the present sequence number. Taken before a read of the store, it shows that the record is newer than everything
// published before, whatever its revision: a store that has lost its last changes assigns their revisions again.
func (p *publisher) mark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// superseded reports whether a newer record than s was published after the mark. The caller holds p.mu.
func (p *publisher) superseded(s session.Session, mark uint64) bool {
	return p.published[s.ID] > mark && p.outdated(s)
}

func newPublisher(table session.Routes, keys Keys, opts Options, rules Rules, health *healthRecords, w *deferredSessions, r *retries, subs *subscribers) *publisher {
	return &publisher{
		table: table, keys: keys, opts: opts, rules: rules, health: health, deferred: w, retries: r, subscribers: subs,
		newest: map[session.ID]session.Session{}, published: map[session.ID]uint64{}, places: map[session.ID]place{}, displaced: map[session.ID][]string{},
		profile: profilePointers(opts.Profiles),
	}
}

func profilePointers(profiles map[string]session.Profile) map[string]*session.Profile {
	pointers := make(map[string]*session.Profile, len(profiles))
	for name, p := range profiles {
		pointers[name] = &p
	}
	return pointers
}

// place is where a session's container is reached, and where its requests come from.
type place struct {
	server string     // "ip:port" of its server; "": there is none
	caller netip.Addr // of the container on the sessions' network; invalid: it is on none
}

// placeOf returns the place of a container whose server is ready. One without an address has none.
func placeOf(c session.Container) place {
	if c.Address == "" {
		return place{}
	}
	return place{server: c.Address, caller: c.NetworkIP}
}

// setPlace publishes the place of a session's container; the zero place if it has none. For a session that is not published yet it
// takes effect with its publication. It acts at once, because the caller's record may be outdated and not be published.
func (p *publisher) setPlace(id session.ID, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moveTo(id, at)
}

// moveTo is setPlace. The caller holds p.mu.
func (p *publisher) moveTo(id session.ID, at place) {
	moved := p.places[id] != at
	p.places[id] = at
	if s, ok := p.newest[id]; ok && moved {
		p.route(s)
	}
}

// setCaller publishes where the requests of a container come from before its server is ready: what the server needs to start may have
// to come through the gateway.
func (p *publisher) setCaller(id session.ID, caller netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moveTo(id, place{server: p.places[id].server, caller: caller})
}

// publish publishes a session's present record.
func (p *publisher) publish(s session.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.outdated(s) {
		p.route(s)
	}
}

// publishSince is publish for a record that the store has returned or acknowledged after the mark.
func (p *publisher) publishSince(mark uint64, s session.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.superseded(s, mark) {
		p.route(s)
	}
}

// publishAt is publish with the observed place of the session's container.
func (p *publisher) publishAt(s session.Session, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.outdated(s) {
		p.places[s.ID] = at
		p.route(s)
	}
}

// publishFollowed is publishSince for a record that another process may have written. It discards an address that can no longer
// be correct, and reports whether the address has to be found by an inspection.
func (p *publisher) publishFollowed(mark uint64, s session.Session) (unlocated bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.superseded(s, mark) {
		return false
	}
	if s.Status != session.Running || portOf(p.places[s.ID].server) != s.Port || !lastReady(s).Equal(lastReady(p.newest[s.ID])) {
		p.places[s.ID] = place{}
	}
	p.route(s)
	return s.Status == session.Running && p.places[s.ID].server == ""
}

// route pushes a session's route to the data plane. The caller holds p.mu.
func (p *publisher) route(s session.Session) {
	if known, ok := p.newest[s.ID]; ok && !known.CreatedAt.Equal(s.CreatedAt) && known.ContainerName != s.ContainerName {
		p.displaced[s.ID] = append(p.displaced[s.ID], known.ContainerName)
	}
	p.count++
	p.newest[s.ID], p.published[s.ID] = s, p.count
	at := p.places[s.ID]
	if s.Status != session.Running || s.Operation != nil || at.server != "" {
		p.deferred.remove(s.ID)
	}
	leaving := s.Operation != nil && !s.Operation.Kind.KeepsUp()
	r := session.Route{
		ID: s.ID, Owner: s.Owner, Address: at.server, Running: s.Status == session.Running && at.server != "" && !leaving,
		Username: p.profileOf(s).Username, Credential: p.keys.Upstream(s.ContainerName), Profile: p.profileOf(s),
		Token: s.Token, Links: s.Links, SignIns: s.SignIns, Wakes: wakesOnRequest(s),
		Caller: at.caller, GatewayToken: p.keys.Gateway(s.ContainerName), ProfileName: s.Profile,
	}
	r.Egress, r.EgressAllow = p.opts.Gateway.Egress(s, *r.Profile)
	if !r.Running {
		r.StartsAt = p.startsAt(s)
	}
	p.table.Set(r)
	p.health.track(s, r)
	p.subscribers.notify(s.ID)
}

// startsAt is when Berth itself starts the server of a session that does not run; zero: it does not.
func (p *publisher) startsAt(s session.Session) time.Time {
	switch {
	case s.Operation != nil && s.Operation.Kind.BringsUp():
		return s.Operation.Deadline.Add(-p.rules.allowanceOf(s))
	case p.rules.restartsAgain(s):
		return p.opts.now()
	}
	return time.Time{}
}

// unpublish removes the route of a deleted session.
func (p *publisher) unpublish(id session.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.newest, id)
	delete(p.published, id)
	delete(p.places, id)
	delete(p.displaced, id)
	p.retries.clear(id)
	p.table.Remove(id)
	p.health.untrack(id)
	p.deferred.remove(id)
	p.subscribers.notify(id)
}

// isPublished reports whether this record of the session is published.
func (p *publisher) isPublished(s session.Session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.newest[s.ID]
	return ok && known.CreatedAt.Equal(s.CreatedAt) && !isOlder(known, s) && len(p.displaced[s.ID]) == 0
}

// isPublishedAt reports whether this record of the session is published with this place.
func (p *publisher) isPublishedAt(s session.Session, at place) bool {
	p.mu.Lock()
	same := p.places[s.ID] == at
	p.mu.Unlock()
	return same && p.isPublished(s)
}

func (p *publisher) addressOf(id session.ID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.places[id].server
}

// publishedIDs lists every published session.
func (p *publisher) publishedIDs() []session.ID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.newest))
}

// profileOf returns the session's profile, or the default one if its own is not in the settings any more: a session must stay
// reachable and deletable.
func (p *publisher) profileOf(s session.Session) *session.Profile {
	if p, ok := p.profile[s.Profile]; ok {
		return p
	}
	return p.profile[p.opts.DefaultProfile]
}

// isDuplicate reports whether this process has published a session of the same ID other than the recorded one.
func (p *publisher) isDuplicate(s session.Session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.newest[s.ID]
	return ok && !known.CreatedAt.Equal(s.CreatedAt) || len(p.displaced[s.ID]) > 0
}

// known returns the last published record of a session.
func (p *publisher) known(id session.ID) (session.Session, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.newest[id]
	return s, ok
}

// replace publishes s in place of a duplicate, unless that has been done, and returns the names of the duplicates' containers.
func (p *publisher) replace(s session.Session, other *session.Session) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other != nil && !other.CreatedAt.Equal(s.CreatedAt) && p.newest[s.ID].CreatedAt.Equal(other.CreatedAt) {
		p.places[s.ID] = place{}
		p.route(s)
	}
	return slices.Clone(p.displaced[s.ID])
}

// removed records that the container of a duplicate was removed.
func (p *publisher) removed(id session.ID, container string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.displaced[id] = slices.DeleteFunc(p.displaced[id], func(n string) bool { return n == container })
	if len(p.displaced[id]) == 0 {
		delete(p.displaced, id)
	}
}
