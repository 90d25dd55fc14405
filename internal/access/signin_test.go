package access_test

import (
	"testing"

	"berth/internal/access"
	"berth/internal/session"
)

func TestDeviceDoesNotUseUpWhatItsUserMayMake(t *testing.T) {
	t.Parallel()
	keys, err := access.NewKeys([]byte("the secret of this very test"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := access.New(access.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	const id = "ses-one"
	device, other, user := access.Principal{Kind: access.Device, SignIn: "in-1"}, access.Principal{Kind: access.Device, SignIn: "in-2"}, access.Principal{Kind: access.SessionToken}
	made := 0
	for ; made < 100 && a.MayLink(device, id) == nil; made++ {
	}
	if err := a.MayLink(device, id); made > 20 || session.CodeOf(err) != session.CodeTooManyAttempts {
		t.Errorf("a device made %d codes, and then got %v", made, err)
	}
	for name, p := range map[string]access.Principal{"the session's token": user, "another device": other, "the operator": {Kind: access.Operator}} {
		if err := a.MayLink(p, id); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
