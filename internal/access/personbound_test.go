package access

import "testing"

// Whoever can sign in can sign out as often, which must not make this process remember ever more.
func TestEndedPersonSignInsAreBounded(t *testing.T) {
	t.Parallel()
	keys, err := NewKeys([]byte("the secret of this very test"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	alice := Principal{Kind: Owner, Owner: "alice"}
	for range mostEnded + 10 {
		value, _ := a.NewPersonSignIn(alice)
		a.EndPersonSignIn(value)
		if _, ok := a.PersonSignedIn(value); ok {
			t.Fatal("the latest sign-out is forgotten")
		}
	}
	if got := len(a.persons.ended); got != mostEnded {
		t.Errorf("%d are remembered, want %d", got, mostEnded)
	}
}
