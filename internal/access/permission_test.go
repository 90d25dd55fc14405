package access_test

import (
	"testing"

	"berth/internal/access"
)

// The table by hand, so that a change of it is a decision. Columns: what the kinds may do without a session (or to
// another one), and to their own.
func TestPermissionsOfEveryKindForEveryVerb(t *testing.T) {
	t.Parallel()
	type may struct{ anonymous, operator, foreign, own, previous bool }
	operator, everyone := may{operator: true}, may{true, true, true, true, true}
	all := map[access.Verb]may{
		access.Status: everyone, access.Details: operator, access.List: operator, access.Create: operator, access.Write: operator,
		access.Delete: operator, access.Logs: operator, access.Instances: operator, access.Metrics: operator,
		access.Read:   {operator: true, own: true, previous: true},
		access.Rotate: {operator: true, own: true},
		access.Open:   {own: true, previous: true},
	}
	for v := access.Status; v <= access.Open; v++ {
		want, ok := all[v]
		if !ok {
			t.Fatalf("verb %d has no row", v)
		}
		const id = "ses-one"
		got := may{
			anonymous: access.May(access.Principal{}, v, id),
			operator:  access.May(access.Principal{Kind: access.Operator}, v, id),
			foreign:   access.May(access.Principal{Kind: access.SessionToken, Session: "ses-two"}, v, id),
			own:       access.May(access.Principal{Kind: access.SessionToken, Session: id}, v, id),
			previous:  access.May(access.Principal{Kind: access.PreviousToken, Session: id}, v, id),
		}
		if got != want {
			t.Errorf("verb %d: got %+v, want %+v", v, got, want)
		}
		none := access.May(access.Principal{Kind: access.SessionToken}, v, "")
		if none != want.foreign {
			t.Errorf("verb %d without a session: a session's token may: %v, want %v", v, none, want.foreign)
		}
	}
}
