package session

import "sync"

// published remembers what the data plane was told, so that a late message about an old revision cannot undo a newer
// one (a rotated token must stay refused), and so that a change of token needs no look at the container.
type published struct {
	mu       sync.Mutex
	revision map[ID]int64
	address  map[ID]string
	profile  map[string]*Profile // shared by all routes
}

func profilePointers(profiles map[string]Profile) map[string]*Profile {
	pointers := make(map[string]*Profile, len(profiles))
	for name, p := range profiles {
		pointers[name] = &p
	}
	return pointers
}

// locate remembers where a session's server is; "" when it is nowhere. It takes effect with the next publish.
func (m *Manager) locate(id ID, address string) {
	m.published.mu.Lock()
	defer m.published.mu.Unlock()
	m.published.address[id] = address
}

// publish tells the data plane about a session as it is recorded now.
func (m *Manager) publish(s Session) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Revision < p.revision[s.ID] {
		return
	}
	p.revision[s.ID] = s.Revision
	address := p.address[s.ID]
	deleting := s.Operation != nil && s.Operation.Kind == OpDelete
	m.routes.Set(Route{
		ID: s.ID, Address: address, Running: s.Status == Running && address != "" && !deleting,
		Username: m.profileOf(s).Username, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s),
		TokenDigest: s.TokenDigest, TokenExpiresAt: s.TokenExpiresAt,
	})
}

// unpublish forgets a session that is gone. IDs are not used twice but for idempotent creates, whose revisions begin
// anew, so that the memory of the old one has to go.
func (m *Manager) unpublish(id ID) {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.revision, id)
	delete(p.address, id)
	m.routes.Remove(id)
}

// isPublished reports whether the data plane knows the session at this address.
func (m *Manager) isPublished(id ID, address string) bool {
	p := &m.published
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.revision[id]
	return known && p.address[id] == address
}

// profileOf returns the profile that the session was made from, and the default one when the operator has removed it
// since: a session must stay reachable and deletable.
func (m *Manager) profileOf(s Session) *Profile {
	if p, ok := m.published.profile[s.Profile]; ok {
		return p
	}
	return m.published.profile[m.opts.DefaultProfile]
}
