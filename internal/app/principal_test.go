package app

import (
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/oidc"
)

// When a person has signed in at the provider is known to whatever will ask for a fresh sign-in, by token and by cookie alike.
func TestTimeOfTheSignInAtTheProviderIsCarried(t *testing.T) {
	t.Parallel()
	at, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for operator, kind := range map[bool]access.Kind{false: access.Owner, true: access.Operator} {
		p := principalOf(oidc.Identity{Owner: "bob", Operator: operator, SignedIn: at, Expires: until})
		if p.Kind != kind || !p.AuthTime.Equal(at) || !p.Until.Equal(until) {
			t.Errorf("got %+v", p)
		}
	}
}
