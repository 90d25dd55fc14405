package lifecycle

import (
	"maps"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// published remembers what the data plane was told, so that a late message about an old revision cannot undo a newer
// one (a rotated token must stay refused), and so that a change of token needs no look at the container.
type published struct {
	mu      sync.Mutex
	newest  map[session.ID]session.Session // the record of each session that was published last; read-only
	at      map[session.ID]uint64          // the number of that publication
	count   uint64                         // of publications so far
	address map[session.ID]string

	displaced map[session.ID][]string // names of containers of other sessions of that ID, until they are removed

	profile map[string]*session.Profile // shared by all routes
}

// outdated reports whether a newer record than s was published. The caller holds p.mu.
func (p *published) outdated(s session.Session) bool {
	return s.OlderThan(p.newest[s.ID])
}

// mark is to be taken before the store is asked. Its answer is then newer than everything that was published before,
// whatever the revisions say: a store may have lost its last changes, and counts them anew.
func (p *published) mark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// overtaken reports whether a newer record than s was published after the mark. The caller holds p.mu.
func (p *published) overtaken(s session.Session, mark uint64) bool {
	return p.at[s.ID] > mark && p.outdated(s)
}

func profilePointers(profiles map[string]session.Profile) map[string]*session.Profile {
	pointers := make(map[string]*session.Profile, len(profiles))
	for name, p := range profiles {
		pointers[name] = &p
	}
	return pointers
}

// locate tells the data plane where a session's server is; "" when it is nowhere. Of a session that is not published yet
// it takes effect with that. It does not wait for the caller's publish: that may be of a record that is outdated by now.
func (m *Manager) locate(id session.ID, address string) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := p.address[id] != address
	p.address[id] = address
	if s, ok := p.newest[id]; ok && moved {
		m.route(s)
	}
}

// publish tells the data plane about a session as it is recorded now.
func (m *Manager) publish(s session.Session) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.outdated(s) {
		m.route(s)
	}
}

// publishSince is publish for what the store has answered to a question, or acknowledged, after the mark.
func (m *Manager) publishSince(mark uint64, s session.Session) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.overtaken(s, mark) {
		m.route(s)
	}
}

// publishAt is publish with the address at which the server of that record was found.
func (m *Manager) publishAt(s session.Session, address string) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.outdated(s) {
		p.address[s.ID] = address
		m.route(s)
	}
}

// publishFollowed is publishSince for a record that another process may have written. An address that cannot be right any
// more is forgotten; it reports whether the server has to be looked for.
func (m *Manager) publishFollowed(mark uint64, s session.Session) (unlocated bool) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.overtaken(s, mark) {
		return false
	}
	if s.Status != session.Running || portOf(p.address[s.ID]) != s.Port || !cameUp(s).Equal(cameUp(p.newest[s.ID])) {
		p.address[s.ID] = ""
	}
	m.route(s)
	return s.Status == session.Running && p.address[s.ID] == ""
}

// cameUp is when the session's server was last brought up. It may be at another address since, and have the same port: on
// the sessions' network all servers do.
func cameUp(s session.Session) time.Time {
	for _, m := range slices.Backward(s.Timeline) {
		if m.Type == session.EventReady || m.Type == session.EventRestarted {
			return m.At
		}
	}
	return time.Time{}
}

// route hands a session's route to the data plane. The caller holds published.mu.
func (m *Manager) route(s session.Session) {
	p := &m.published
	if known, ok := p.newest[s.ID]; ok && !known.CreatedAt.Equal(s.CreatedAt) && known.ContainerName != s.ContainerName {
		p.displaced[s.ID] = append(p.displaced[s.ID], known.ContainerName)
	}
	p.count++
	p.newest[s.ID], p.at[s.ID] = s, p.count
	address := p.address[s.ID]
	if s.Status != session.Running || s.Operation != nil || address != "" {
		m.forgetUnheard(s.ID)
	}
	leaving := s.Operation != nil && !s.Operation.Kind.KeepsUp()
	r := session.Route{
		ID: s.ID, Address: address, Running: s.Status == session.Running && address != "" && !leaving,
		Username: m.profileOf(s).Username, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s),
		Token: s.Token, Wakes: wakes(s),
	}
	if !r.Running {
		r.StartsAt = m.startsAt(s)
	}
	m.routes.Set(r)
	m.attend(s, r)
	m.subscribers.notify(s.ID)
}

// startsAt is when the server of a session that does not run is started without anybody's doing; zero: it is not.
func (m *Manager) startsAt(s session.Session) time.Time {
	switch {
	case s.Operation != nil && s.Operation.Kind.BringsUp():
		return s.Operation.Deadline.Add(-m.rules.allowance(s.Operation.Kind))
	case m.rules.heals(s):
		return m.now()
	}
	return time.Time{}
}

// unpublish forgets a session that is gone.
func (m *Manager) unpublish(id session.ID) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.newest, id)
	delete(p.at, id)
	delete(p.address, id)
	delete(p.displaced, id)
	m.retries.ended(id)
	m.routes.Remove(id)
	m.dropHealthRecord(id)
	m.forgetUnheard(id)
	m.subscribers.notify(id)
}

// isPublished reports whether the data plane knows the session as it is recorded here.
func (m *Manager) isPublished(s session.Session) bool {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.newest[s.ID]
	return ok && known.CreatedAt.Equal(s.CreatedAt) && !known.OlderThan(s) && len(p.displaced[s.ID]) == 0
}

// isPublishedAt reports whether the data plane knows the session as it is recorded here, at this address.
func (m *Manager) isPublishedAt(s session.Session, address string) bool {
	return m.isPublished(s) && m.addressOf(s.ID) == address
}

func (m *Manager) addressOf(id session.ID) string {
	m.published.mu.Lock()
	defer m.published.mu.Unlock()
	return m.published.address[id]
}

// publishedIDs lists every session that the data plane knows.
func (m *Manager) publishedIDs() []session.ID {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.newest))
}

// profileOf returns the profile that the session was made from, and the default one when the operator has removed it
// since: a session must stay reachable and deletable.
func (m *Manager) profileOf(s session.Session) *session.Profile {
	if p, ok := m.published.profile[s.Profile]; ok {
		return p
	}
	return m.published.profile[m.opts.DefaultProfile]
}
