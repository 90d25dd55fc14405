package gateway

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"berth/internal/session"
)

// Callers knows the sessions whose containers may use the gateway, by the addresses of the containers. It is safe for concurrent use.
type Callers struct {
	gone func(session.ID)

	mu       sync.RWMutex
	sessions map[session.ID]*caller
	byIP     map[netip.Addr]*caller
}

var _ session.Routes = (*Callers)(nil)

// caller is a session at an address. It is replaced when one of them, the token or what the session may reach changes.
type caller struct {
	session.Caller
	token session.Secret
	live  context.Context //nolint:containedctx // the life of the caller, not of a call
	end   context.CancelCauseFunc
}

// NewCallers returns callers that know no session. gone is called for one that may not use the gateway any more, or not as before; it
// does not block, and does not call these callers. nil: nothing.
func NewCallers(gone func(session.ID)) *Callers {
	if gone == nil {
		gone = func(session.ID) {}
	}
	return &Callers{gone: gone, sessions: map[session.ID]*caller{}, byIP: map[netip.Addr]*caller{}}
}

// ErrGone ends the requests of a session that may not use the gateway any more.
var ErrGone = errors.New("the session was stopped or deleted")

// Set implements [session.Routes]. A session whose container has no address may ask for nothing, and its requests end.
func (c *Callers) Set(r session.Route) {
	next := session.Caller{
		Session: r.ID, Owner: r.Owner, Address: r.Caller.Unmap(), Egress: r.Egress, Allow: r.EgressAllow, Profile: r.ProfileName,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.sessions[r.ID]
	if known != nil && known.token == r.GatewayToken && same(known.Caller, next) {
		return
	}
	c.remove(known)
	if !next.Address.IsValid() || r.GatewayToken == "" {
		return
	}
	// The engine gives an address again once its container has ended, of which the news may not have arrived.
	c.remove(c.byIP[next.Address])
	added := &caller{Caller: next, token: r.GatewayToken}
	added.live, added.end = context.WithCancelCause(context.Background())
	c.sessions[r.ID], c.byIP[next.Address] = added, added
}

// same compares what requests depend on.
func same(a, b session.Caller) bool {
	return a.Session == b.Session && a.Owner == b.Owner && a.Profile == b.Profile && a.Address == b.Address &&
		a.Egress == b.Egress && slices.Equal(a.Allow, b.Allow)
}

// Remove implements [session.Routes].
func (c *Callers) Remove(id session.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(c.sessions[id])
}

// remove forgets a caller, which may be nil, and ends its requests. The caller of this method holds c.mu.
func (c *Callers) remove(gone *caller) {
	if gone == nil {
		return
	}
	delete(c.sessions, gone.Session)
	if c.byIP[gone.Address] == gone {
		delete(c.byIP, gone.Address)
	}
	gone.end(ErrGone)
	c.gone(gone.Session)
}

// At returns the session whose container has this address, and a context that ends with its right to use the gateway.
func (c *Callers) At(address netip.Addr) (session.Caller, context.Context, bool) {
	found := c.find(address)
	if found == nil {
		return session.Caller{}, nil, false
	}
	return found.Caller, found.live, true
}

// find returns the caller at an address; nil if there is none.
func (c *Callers) find(address netip.Addr) *caller {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byIP[address.Unmap()]
}

// authenticate returns the session whose container has this address, if the token is its own. known reports whether a session has the
// address at all.
func (c *Callers) authenticate(address netip.Addr, token session.Secret) (_ session.Caller, live context.Context, known, ok bool) {
	found := c.find(address)
	if found == nil {
		return session.Caller{}, nil, false, false
	}
	ok = subtle.ConstantTimeCompare([]byte(token.Reveal()), []byte(found.token.Reveal())) == 1
	return found.Caller, found.live, true, ok
}
