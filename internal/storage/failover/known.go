package failover

import (
	"sync"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// known is the sessions of the primary, as observed in its responses. Responses may arrive out of order: each change has a
// number, and the response to a query that started before a change is ignored for the changed session.
type known struct {
	mu       sync.Mutex
	sessions map[session.ID]observation
	count    uint64 // of changes so far
	moves    uint64 // of activity so far

	copied, copiedMoves uint64 // those that the copy has
}

type observation struct {
	session session.Session
	gone    bool
	at      uint64 // number of the change
}

// mark is to be taken before a query starts.
func (k *known) mark() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

func (k *known) note(id session.ID, s observation) {
	if k.sessions == nil {
		k.sessions = map[session.ID]observation{}
	}
	k.count++
	s.at = k.count
	k.sessions[id] = s
}

// put records the result of a change, unless a later one is known already.
func (k *known) put(s session.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.sessions[s.ID]; !ok || old.gone || !isNewer(old.session, s) {
		k.note(s.ID, observation{session: s.Clone()})
	}
}

// isNewer reports whether a is a later version of the same session as b.
func isNewer(a, b session.Session) bool {
	return a.CreatedAt.Equal(b.CreatedAt) && a.Revision > b.Revision
}

func (k *known) remove(id session.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(id, observation{gone: true})
}

// got records the result of a query.
func (k *known) got(mark uint64, s session.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, ok := k.sessions[s.ID]
	switch {
	case ok && old.at > mark && (old.gone || !isNewer(s, old.session)):
	case ok && !old.gone && same(&old.session, &s):
		k.moved(s.ID, s.LastAccessed)
	default:
		k.note(s.ID, observation{session: s.Clone()})
	}
}

// missed records that a session was not found.
func (k *known) missed(mark uint64, id session.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.sessions[id]; ok && !old.gone && old.at <= mark {
		k.note(id, observation{gone: true})
	}
}

// listed records a list of all sessions.
func (k *known) listed(mark uint64, all []session.Session) {
	here := make(map[session.ID]bool, len(all))
	for _, s := range all {
		here[s.ID] = true
		k.got(mark, s)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, old := range k.sessions {
		switch {
		case here[id] || old.at > mark:
		case old.gone:
			delete(k.sessions, id) // older responses cannot have an effect any more
		default:
			k.note(id, observation{gone: true})
		}
	}
}

// replace discards everything but these sessions.
func (k *known) replace(all []session.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sessions = map[session.ID]observation{}
	for _, s := range all {
		k.note(s.ID, observation{session: s.Clone()})
	}
}

func (k *known) touch(at map[session.ID]time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, when := range at {
		k.moved(id, when)
	}
}

func (k *known) moved(id session.ID, when time.Time) {
	when = record.InstantOf(when)
	if old, ok := k.sessions[id]; ok && when.After(old.session.LastAccessed) {
		old.session.LastAccessed = when
		k.sessions[id] = old
		k.moves++
	}
}

// needsCopy reports whether the copy lacks a change: with alsoActivity, also activity.
func (k *known) needsCopy(alsoActivity bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count != k.copied || alsoActivity && k.moves != k.copiedMoves
}

// snapshot returns all sessions for a copy. The caller calls markClean once that copy is durable, and not before: until
// then, and for what changes meanwhile, the copy stays dirty.
func (k *known) snapshot() (all []session.Session, markClean func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all = make([]session.Session, 0, len(k.sessions))
	for _, s := range k.sessions {
		if !s.gone {
			all = append(all, s.session)
		}
	}
	count, moves := k.count, k.moves
	return all, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.copied, k.copiedMoves = max(k.copied, count), max(k.copiedMoves, moves)
	}
}
