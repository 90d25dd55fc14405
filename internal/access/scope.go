package access

import (
	"strings"

	"berth/internal/session"
)

// Scopes is a set of what a platform token is for. The zero value is empty.
type Scopes uint16

// Every scope.
const (
	ScopeCreate  Scopes = 1 << iota // sessions:create
	ScopeRead                       // sessions:read: list, records, events, logs, health
	ScopeWrite                      // sessions:write: start, stop, restart, upgrade, cancel
	ScopeDelete                     // sessions:delete
	ScopeOpen                       // sessions:open: what signs in to a session, such as a new token
	ScopeMetrics                    // metrics
	ScopeAudit                      // audit
	allScopes    = 1<<iota - 1
)

// sessionScopes are those that an owner could use too.
const sessionScopes = ScopeCreate | ScopeRead | ScopeWrite | ScopeDelete | ScopeOpen

var scopeNames = []struct {
	scope Scopes
	name  string
}{
	{ScopeCreate, "sessions:create"},
	{ScopeRead, "sessions:read"},
	{ScopeWrite, "sessions:write"},
	{ScopeDelete, "sessions:delete"},
	{ScopeOpen, "sessions:open"},
	{ScopeMetrics, "metrics"},
	{ScopeAudit, "audit"},
}

// ScopeNames lists the names of all scopes.
func ScopeNames() []string { return Scopes(allScopes).Names() }

// Names are the names of the scopes in the set, in a fixed order.
func (s Scopes) Names() []string {
	names := []string{}
	for _, known := range scopeNames {
		if s.Has(known.scope) {
			names = append(names, known.name)
		}
	}
	return names
}

// String are the names, separated by spaces, as in RFC 6750.
func (s Scopes) String() string { return strings.Join(s.Names(), " ") }

// Has reports whether all of these scopes are in the set.
func (s Scopes) Has(all Scopes) bool { return s&all == all }

// ParseScopes reads names of scopes. An unknown one and an empty list are CodeInvalid errors.
func ParseScopes(names []string) (Scopes, error) {
	var all Scopes
	for _, name := range names {
		scope := scopeNamed(name)
		if scope == 0 {
			return 0, session.Errorf(session.CodeInvalid, "there is no such scope; the scopes are %s", strings.Join(ScopeNames(), ", "))
		}
		all |= scope
	}
	if all == 0 {
		return 0, session.Errorf(session.CodeInvalid, "name at least one scope of %s", strings.Join(ScopeNames(), ", "))
	}
	return all, nil
}

func scopeNamed(name string) Scopes {
	for _, known := range scopeNames {
		if known.name == name {
			return known.scope
		}
	}
	return 0
}

// MarshalText writes the names as String does, for stores.
func (s Scopes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote. A scope of a newer Berth is left out: its token may do less here.
func (s *Scopes) UnmarshalText(text []byte) error {
	*s = 0
	for name := range strings.FieldsSeq(string(text)) {
		*s |= scopeNamed(name)
	}
	return nil
}
