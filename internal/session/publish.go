package session

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// published remembers what the data plane was told, so that a late message about an old revision cannot undo a newer
// one (a rotated token must stay refused), and so that a change of token needs no look at the container.
type published struct {
	mu      sync.Mutex
	newest  map[ID]Session // the record of each session that was published last; read-only
	at      map[ID]uint64  // the number of that publication
	count   uint64         // of publications so far
	address map[ID]string

	displaced map[ID][]string // names of containers of other sessions of that ID, until they are removed

	profile map[string]*Profile // shared by all routes
}

// olderThan orders what was recorded under one ID. An ID is used twice by idempotent creates only, whose revisions begin
// anew.
func (s Session) olderThan(t Session) bool {
	return s.CreatedAt.Before(t.CreatedAt) || s.CreatedAt.Equal(t.CreatedAt) && s.Revision < t.Revision
}

// outdated reports whether a newer record than s was published. The caller holds p.mu.
func (p *published) outdated(s Session) bool {
	return s.olderThan(p.newest[s.ID])
}

// mark is to be taken before the store is asked. Its answer is then newer than everything that was published before,
// whatever the revisions say: a store may have lost its last changes, and counts them anew.
func (p *published) mark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// overtaken reports whether a newer record than s was published after the mark. The caller holds p.mu.
func (p *published) overtaken(s Session, mark uint64) bool {
	return p.at[s.ID] > mark && p.outdated(s)
}

func profilePointers(profiles map[string]Profile) map[string]*Profile {
	pointers := make(map[string]*Profile, len(profiles))
	for name, p := range profiles {
		pointers[name] = &p
	}
	return pointers
}

// locate tells the data plane where a session's server is; "" when it is nowhere. Of a session that is not published yet
// it takes effect with that. It does not wait for the caller's publish: that may be of a record that is outdated by now.
func (m *Manager) locate(id ID, address string) {
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
func (m *Manager) publish(s Session) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.outdated(s) {
		m.route(s)
	}
}

// publishSince is publish for what the store has answered to a question, or acknowledged, after the mark.
func (m *Manager) publishSince(mark uint64, s Session) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.overtaken(s, mark) {
		m.route(s)
	}
}

// publishAt is publish with the address at which the server of that record was found.
func (m *Manager) publishAt(s Session, address string) {
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
func (m *Manager) publishFollowed(mark uint64, s Session) (unlocated bool) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.overtaken(s, mark) {
		return false
	}
	if s.Status != Running || portOf(p.address[s.ID]) != s.Port || !cameUp(s).Equal(cameUp(p.newest[s.ID])) {
		p.address[s.ID] = ""
	}
	m.route(s)
	return s.Status == Running && p.address[s.ID] == ""
}

// cameUp is when the session's server was last brought up. It may be at another address since, and have the same port: on
// the sessions' network all servers do.
func cameUp(s Session) time.Time {
	for _, m := range slices.Backward(s.Timeline) {
		if m.What == Ready || m.What == Restarted {
			return m.At
		}
	}
	return time.Time{}
}

// route hands a session's route to the data plane. The caller holds published.mu.
func (m *Manager) route(s Session) {
	p := &m.published
	if known, ok := p.newest[s.ID]; ok && !known.CreatedAt.Equal(s.CreatedAt) && known.ContainerName != s.ContainerName {
		p.displaced[s.ID] = append(p.displaced[s.ID], known.ContainerName)
	}
	p.count++
	p.newest[s.ID], p.at[s.ID] = s, p.count
	address := p.address[s.ID]
	if s.Status != Running || s.Operation != nil || address != "" {
		m.forgetUnheard(s.ID)
	}
	leaving := s.Operation != nil && !s.Operation.Kind.keepsUp()
	r := Route{
		ID: s.ID, Address: address, Running: s.Status == Running && address != "" && !leaving,
		Username: m.profileOf(s).Username, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s),
		TokenDigest: s.TokenDigest, TokenExpiresAt: s.TokenExpiresAt, Wakes: wakes(s),
		PreviousTokenDigest: s.PreviousTokenDigest, PreviousTokenExpiresAt: s.PreviousTokenExpiresAt,
	}
	if !r.Running {
		r.StartsAt = m.startsAt(s)
	}
	m.routes.Set(r)
	m.attend(s, r)
	m.audience.tell(s.ID)
}

// startsAt is when the server of a session that does not run is started without anybody's doing; zero: it is not.
func (m *Manager) startsAt(s Session) time.Time {
	switch {
	case s.Operation != nil && s.Operation.Kind.bringsUp():
		return s.Operation.Deadline.Add(-m.allowance(s.Operation.Kind))
	case m.healing(s):
		return m.now()
	}
	return time.Time{}
}

// unpublish forgets a session that is gone.
func (m *Manager) unpublish(id ID) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.newest, id)
	delete(p.at, id)
	delete(p.address, id)
	delete(p.displaced, id)
	m.retries.ended(id)
	m.routes.Remove(id)
	m.dismissVital(id)
	m.forgetUnheard(id)
	m.audience.tell(id)
}

// isPublished reports whether the data plane knows the session as it is recorded here.
func (m *Manager) isPublished(s Session) bool {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.newest[s.ID]
	return ok && known.CreatedAt.Equal(s.CreatedAt) && !known.olderThan(s) && len(p.displaced[s.ID]) == 0
}

// isPublishedAt reports whether the data plane knows the session as it is recorded here, at this address.
func (m *Manager) isPublishedAt(s Session, address string) bool {
	return m.isPublished(s) && m.addressOf(s.ID) == address
}

func (m *Manager) addressOf(id ID) string {
	m.published.mu.Lock()
	defer m.published.mu.Unlock()
	return m.published.address[id]
}

// publishedIDs lists every session that the data plane knows.
func (m *Manager) publishedIDs() []ID {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.newest))
}

// profileOf returns the profile that the session was made from, and the default one when the operator has removed it
// since: a session must stay reachable and deletable.
func (m *Manager) profileOf(s Session) *Profile {
	if p, ok := m.published.profile[s.Profile]; ok {
		return p
	}
	return m.published.profile[m.opts.DefaultProfile]
}
