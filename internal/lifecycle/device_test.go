package lifecycle_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// Of many who have the same pairing code, devices and browsers, one gets in.
func TestPairingCodeIsRedeemedOnce(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made, _ := w.Make(lifecycle.Request{})
	if err := w.Manager.NewPairing(t.Context(), made.ID, session.Link{Digest: "code", Name: "phone"}); err != nil {
		t.Fatal(err)
	}
	var in atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			who := session.SignIn{ID: strconv.Itoa(i), Digest: "token", Device: i%2 == 0}
			switch err := w.Redeem(t.Context(), made.ID, "code", "", who); session.CodeOf(err) {
			case "":
				in.Add(1)
			case session.CodeUnauthorized, session.CodeConflict:
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	s, err := w.Get(t.Context(), made.ID)
	if err != nil || in.Load() != 1 || len(s.SignIns) != 1 || s.SignIns[0].Browser != "phone" || len(s.Links) != 0 {
		t.Errorf("%d got in, recorded %+v and %v, %v", in.Load(), s.SignIns, s.Links, err)
	}
}

func TestLinkLetsNoDeviceIn(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made, _ := w.Make(lifecycle.Request{})
	if _, err := w.Manager.NewLink(t.Context(), made.ID, session.Link{Digest: "link"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Redeem(t.Context(), made.ID, "link", "", session.SignIn{ID: "d", Device: true}); session.CodeOf(err) != session.CodeUnauthorized {
		t.Errorf("a device: got %v", err)
	}
	if err := w.Redeem(t.Context(), made.ID, "link", "", session.SignIn{ID: "b"}); err != nil {
		t.Errorf("the link was used up by it: %v", err)
	}
}

func TestPairingCodeExpires(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made, _ := w.Make(lifecycle.Request{})
	if err := w.Manager.NewPairing(t.Context(), made.ID, session.Link{Digest: "code"}); err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(5 * time.Minute)
	if err := w.Redeem(t.Context(), made.ID, "code", "", session.SignIn{Device: true}); session.CodeOf(err) != session.CodeUnauthorized {
		t.Errorf("got %v", err)
	}
}

// A device's token ends after its time, with the session's token at the latest, and at once with a rotation of that.
func TestDevicesEndWithTheToken(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *lifecycle.Options) { o.TokenLife, o.DeviceLife = 48*time.Hour, 24*time.Hour })
	made, _ := w.Make(lifecycle.Request{})
	pair := func(code string, link session.Link, device session.SignIn) {
		t.Helper()
		link.Digest, device.Device = code, true
		if err := w.Manager.NewPairing(t.Context(), made.ID, link); err != nil {
			t.Fatal(err)
		}
		if err := w.Redeem(t.Context(), made.ID, code, "", device); err != nil {
			t.Fatal(err)
		}
	}
	present := func() session.SignIn {
		t.Helper()
		s, err := w.Get(t.Context(), made.ID)
		if err != nil || len(s.SignIns) != 1 {
			t.Fatalf("got %+v, %v, want one device", s.SignIns, err)
		}
		return s.SignIns[0]
	}
	pair("code", session.Link{}, session.SignIn{ID: "d", Digest: "token", Browser: "phone"})
	if in := present(); in.ExpiresAt.Sub(in.At) != 24*time.Hour {
		t.Errorf("got %+v, want a token for a day", in)
	}
	w.Clock.Advance(20 * time.Hour)
	pair("renewal", session.Link{Renews: "d"}, session.SignIn{ID: "ignored", Digest: "next"})
	if in := present(); in.ID != "d" || in.Digest != "token" || in.NextDigest != "next" || in.Ends().Sub(in.At).Round(time.Minute) != 44*time.Hour {
		t.Errorf("got %+v, want both tokens", in)
	}
	w.Clock.Advance(10 * time.Hour) // the first token has expired
	if err := w.Manager.ConfirmDevice(t.Context(), made.ID, "d", "another"); session.CodeOf(err) != session.CodeUnauthorized {
		t.Errorf("confirming another token: got %v", err)
	}
	for range 2 { // two requests may use it at once
		if err := w.Manager.ConfirmDevice(t.Context(), made.ID, "d", "next"); err != nil {
			t.Error(err)
		}
	}
	if in := present(); in.Digest != "next" || in.NextDigest != "" || in.Browser != "phone" {
		t.Errorf("got %+v, want the new token alone", in)
	}
	pair("again", session.Link{Renews: "d"}, session.SignIn{Digest: "last"})
	s, err := w.Get(t.Context(), made.ID)
	if err != nil || !s.SignIns[0].Ends().Equal(s.Token.ExpiresAt) {
		t.Errorf("it ends at %v, the session's token at %v", s.SignIns[0].Ends(), s.Token.ExpiresAt)
	}
	if _, err := w.Manager.Rotate(t.Context(), made.ID, "new", time.Minute); err != nil {
		t.Fatal(err)
	}
	if s, err := w.Get(t.Context(), made.ID); err != nil || len(s.SignIns) != 0 {
		t.Errorf("after a rotation: %v, %v", s.SignIns, err)
	}
}

// A device that was signed out gets no new token by a code from before, and a browser none of its codes.
func TestRenewalIsForThePresentDeviceAlone(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made, _ := w.Make(lifecycle.Request{})
	for _, code := range []session.Link{{Digest: "code"}, {Digest: "renewal", Renews: "d"}} {
		if err := w.Manager.NewPairing(t.Context(), made.ID, code); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Redeem(t.Context(), made.ID, "code", "", session.SignIn{ID: "d", Device: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Redeem(t.Context(), made.ID, "renewal", "", session.SignIn{ID: "b"}); session.CodeOf(err) != session.CodeForbidden {
		t.Errorf("a browser: got %v", err)
	}
	if err := w.Manager.SignOut(t.Context(), made.ID, "d"); err != nil {
		t.Fatal(err)
	}
	if err := w.Redeem(t.Context(), made.ID, "renewal", "", session.SignIn{Device: true, Digest: "next"}); session.CodeOf(err) != session.CodeUnauthorized {
		t.Errorf("a device that was signed out: got %v", err)
	}
	if s, err := w.Get(t.Context(), made.ID); err != nil || len(s.SignIns) != 0 {
		t.Errorf("recorded %+v, %v", s.SignIns, err)
	}
}

// Devices and browsers, links and pairing codes have bounds of their own, and the device that renewed its token last stays longest.
func TestDevicesAndPairingCodesAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	later := now.Add(time.Hour)
	s := session.Session{}.Linked(session.Link{Digest: "link", ExpiresAt: later}, now).SignedIn(session.SignIn{ID: "browser", ExpiresAt: later}, now)
	s = s.SignedIn(session.SignIn{ID: "first", Device: true, ExpiresAt: later}, now)
	s = s.SignedIn(session.SignIn{ID: "second", Device: true, ExpiresAt: later}, now)
	s, renewed := s.Renewed("first", "next", later, now)
	s, confirmed := s.Confirmed("first", "next", now)
	for i := range session.MaxDevices - 1 {
		s = s.SignedIn(session.SignIn{ID: strconv.Itoa(i), Device: true, ExpiresAt: later}, now)
	}
	for i := range 2 * session.MaxLinks {
		s = s.Linked(session.Link{Digest: strconv.Itoa(i), Pairing: true, ExpiresAt: later}, now)
	}
	if !renewed || !confirmed || len(s.SignIns) != session.MaxDevices+1 || s.SignIns[0].ID != "browser" || s.SignIns[1].ID != "first" {
		t.Errorf("got %+v", s.SignIns)
	}
	if len(s.Links) != session.MaxLinks+1 || s.Links[0].Digest != "link" {
		t.Errorf("got %+v", s.Links)
	}
}
