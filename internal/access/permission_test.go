package access_test

import (
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/session"
)

// The table by hand, so that a change of it is a decision. Columns: what the kinds may do without a session (or to another
// one), and to their own; a platform token with every scope, and one that is bound to an owner.
func TestPermissionsOfEveryKindForEveryVerb(t *testing.T) {
	t.Parallel()
	type may struct {
		anonymous, operator, platform, bound, boundForeign, owner, ownerForeign, foreign, own, previous, signedIn, device bool
	}
	operator := may{operator: true}
	everyone := may{true, true, true, true, true, true, true, true, true, true, true, true}
	owned := may{operator: true, platform: true, bound: true, owner: true}
	many := may{operator: true, platform: true, bound: true, boundForeign: true, owner: true, ownerForeign: true} // restricted by OwnerFor
	with := func(m may, change func(*may)) may { change(&m); return m }
	all := map[access.Verb]may{
		access.Status: everyone, access.Details: operator, access.Instances: operator, access.PlatformTokens: operator,
		access.List: many, access.Create: many, access.ChooseImage: {operator: true, platform: true},
		access.Metrics: {operator: true, platform: true},
		access.Write:   owned, access.Delete: owned, access.Logs: owned,
		access.Read:    with(owned, func(m *may) { m.own, m.previous = true, true }),
		access.Rotate:  with(owned, func(m *may) { m.own = true }),
		access.SignIns: with(owned, func(m *may) { m.own = true }),
		access.Pair:    with(owned, func(m *may) { m.own, m.device = true, true }),
		access.Open:    {own: true, previous: true, signedIn: true, device: true},
	}
	every, err := access.ParseScopes(access.ScopeNames())
	if err != nil {
		t.Fatal(err)
	}
	for v := access.Status; v <= access.PlatformTokens; v++ {
		want, ok := all[v]
		if !ok {
			t.Fatalf("verb %d has no row", v)
		}
		const id, owner = "ses-one", "alice"
		bound := access.Principal{Kind: access.Platform, Owner: owner, Scopes: every}
		person := access.Principal{Kind: access.Owner, Owner: owner}
		got := may{
			anonymous:    access.May(access.Principal{}, v, id, owner),
			operator:     access.May(access.Principal{Kind: access.Operator}, v, id, owner),
			platform:     access.May(access.Principal{Kind: access.Platform, Scopes: every}, v, id, owner),
			bound:        access.May(bound, v, id, owner),
			boundForeign: access.May(bound, v, id, "bob"),
			owner:        access.May(person, v, id, owner),
			ownerForeign: access.May(person, v, id, "bob"),
			foreign:      access.May(access.Principal{Kind: access.SessionToken, Session: "ses-two"}, v, id, owner),
			own:          access.May(access.Principal{Kind: access.SessionToken, Session: id}, v, id, owner),
			previous:     access.May(access.Principal{Kind: access.PreviousToken, Session: id}, v, id, owner),
			signedIn:     access.May(access.Principal{Kind: access.SignedIn, Session: id}, v, id, owner),
			device:       access.May(access.Principal{Kind: access.Device, Session: id}, v, id, owner),
		}
		if got != want {
			t.Errorf("verb %d: got %+v, want %+v", v, got, want)
		}
		none := access.May(access.Principal{Kind: access.SessionToken}, v, "", "")
		if none != want.foreign {
			t.Errorf("verb %d without a session: a session's token may: %v, want %v", v, none, want.foreign)
		}
		for _, nobody := range []access.Principal{{Kind: access.Owner}, {Kind: access.Platform}, {Kind: access.Platform, Owner: owner}} {
			if got := access.May(nobody, v, id, ""); got && v != access.Status && v != access.ChooseImage {
				t.Errorf("verb %d: %+v, which has no name or no scopes, may use it on a session that nobody owns", v, nobody)
			}
		}
	}
}

// Each scope opens its own verbs and no other one.
func TestScopeOpensItsVerbsOnly(t *testing.T) {
	t.Parallel()
	opens := map[string][]access.Verb{
		"sessions:create": {access.Create}, "sessions:read": {access.List, access.Read, access.Logs}, "sessions:write": {access.Write},
		"sessions:delete": {access.Delete}, "sessions:open": {access.Rotate, access.SignIns, access.Pair}, "metrics": {access.Metrics}, "audit": {},
	}
	for _, name := range access.ScopeNames() {
		verbs, ok := opens[name]
		if !ok {
			t.Fatalf("the scope %s has no row", name)
		}
		scope, err := access.ParseScopes([]string{name})
		if err != nil || scope.String() != name {
			t.Fatalf("got %s, %v, want %s", scope, err, name)
		}
		may := map[access.Verb]bool{access.Status: true, access.ChooseImage: true}
		for _, v := range verbs {
			may[v] = true
		}
		for v := access.Status; v <= access.PlatformTokens; v++ {
			if got := access.May(access.Principal{Kind: access.Platform, Scopes: scope}, v, "ses-one", "alice"); got != may[v] {
				t.Errorf("%s, verb %d: got %v, want %v", name, v, got, may[v])
			}
		}
	}
	for _, names := range [][]string{nil, {"sessions"}, {"sessions:read", "sessions:*"}, {""}} {
		if scopes, err := access.ParseScopes(names); session.CodeOf(err) != session.CodeInvalid || !strings.Contains(err.Error(), "sessions:create") {
			t.Errorf("%q: got %s, %v, want an error that lists the scopes", names, scopes, err)
		}
	}
}

func TestOwnerOfListsAndCreates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		who   access.Principal
		named string
		want  string
		ok    bool
	}{
		"operator":                          {access.Principal{Kind: access.Operator}, "bob", "bob", true},
		"operator, all":                     {access.Principal{Kind: access.Operator}, "", "", true},
		"platform token":                    {access.Principal{Kind: access.Platform}, "bob", "bob", true},
		"bound token":                       {access.Principal{Kind: access.Platform, Owner: "alice"}, "", "alice", true},
		"bound token names its owner":       {access.Principal{Kind: access.Platform, Owner: "alice"}, "alice", "alice", true},
		"bound token names another":         {access.Principal{Kind: access.Platform, Owner: "alice"}, "bob", "", false},
		"owner":                             {access.Principal{Kind: access.Owner, Owner: "alice"}, "", "alice", true},
		"owner names another":               {access.Principal{Kind: access.Owner, Owner: "alice"}, "bob", "", false},
		"owner without a name":              {access.Principal{Kind: access.Owner}, "", "", false},
		"session's token":                   {access.Principal{Kind: access.SessionToken, Session: "ses-one"}, "", "", false},
		"anonymous":                         {access.Principal{}, "", "", false},
		"owner names another of other case": {access.Principal{Kind: access.Owner, Owner: "alice"}, "Alice", "", false},
	} {
		if got, ok := c.who.OwnerFor(c.named); got != c.want || ok != c.ok {
			t.Errorf("%s: got %q, %v, want %q, %v", name, got, ok, c.want, c.ok)
		}
	}
}
