package session

import (
	"maps"
	"slices"
)

// Shape is what was asked of one session beside its profile. Zero values stand for the profile's, and where it has none for the
// operator's. It is fixed at creation; a limit above the operator's present maximum counts as the maximum.
type Shape struct {
	Limits     Limits     // of its containers
	Env        Variables  // of its server, beside the profile's, which take precedence
	Repository string     // URL of the git repository that is cloned into the empty workspace; empty: none
	Ref        string     // branch or tag of it; empty: its default branch
	Egress     EgressMode // never more than the profile's
	Allow      []string   // with EgressListed: lists and rules within the profile's
}

// Clone returns a copy that shares nothing mutable with the shape.
func (s Shape) Clone() Shape {
	s.Env, s.Allow = maps.Clone(s.Env), slices.Clone(s.Allow)
	return s
}

// Same reports whether two shapes ask for the same. The order of Allow matters not.
func (s Shape) Same(other Shape) bool {
	a, b := slices.Sorted(slices.Values(s.Allow)), slices.Sorted(slices.Values(other.Allow))
	return s.Limits == other.Limits && maps.Equal(s.Env, other.Env) && s.Repository == other.Repository && s.Ref == other.Ref &&
		s.Egress == other.Egress && slices.Equal(a, b)
}

// The default of profiles that name no egress.
var defaultAllow = []string{EgressPackages}

// EgressOf returns what the sessions of the profile reach of the outside: the mode, which is never empty, and with [EgressListed] the
// lists and rules, which are shared and read-only.
func (p Profile) EgressOf() (EgressMode, []string) {
	switch {
	case p.Egress == EgressNone || p.Egress == EgressOpen:
		return p.Egress, nil
	case len(p.EgressAllow) == 0:
		return EgressListed, defaultAllow
	}
	return EgressListed, p.EgressAllow
}

// Narrowed is EgressOf for a session that asks for less. covers reports whether a list has everything that a rule or a list allows: a
// rule that the profile's do not cover any more is left out. Nil: only the same text is covered.
func (p Profile) Narrowed(asked Shape, covers func(allow []string, rule string) bool) (EgressMode, []string) {
	mode, allow := p.EgressOf()
	switch {
	case asked.Egress != "" && asked.Egress.Within(mode):
	case len(asked.Allow) > 0 && mode == EgressOpen:
		asked.Egress = EgressListed
	default:
		asked.Egress = mode
	}
	if asked.Egress != EgressListed {
		return asked.Egress, nil
	}
	if len(asked.Allow) == 0 {
		if mode == EgressOpen {
			return EgressListed, defaultAllow
		}
		return EgressListed, allow
	}
	if mode == EgressOpen {
		return EgressListed, asked.Allow
	}
	if covers == nil {
		covers = slices.Contains[[]string]
	}
	var kept []string
	for _, rule := range asked.Allow {
		if covers(allow, rule) {
			kept = append(kept, rule)
		}
	}
	return EgressListed, kept
}
