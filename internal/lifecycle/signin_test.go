package lifecycle_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// Of many who have the same link, one gets in.
func TestLinkIsRedeemedOnce(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made, _ := w.Make(lifecycle.Request{})
	id := made.ID
	if _, err := w.Manager.NewLink(t.Context(), id, session.Link{Digest: "code"}); err != nil {
		t.Fatal(err)
	}
	var in atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			switch err := w.Manager.Redeem(t.Context(), id, "code", "", session.SignIn{ID: "in", Digest: "cookie"}); session.CodeOf(err) {
			case "":
				in.Add(1)
			case session.CodeUnauthorized, session.CodeConflict:
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	s, err := w.Get(t.Context(), id)
	if err != nil || in.Load() != 1 || len(s.SignIns) != 1 || len(s.Links) != 0 {
		t.Errorf("%d got in, recorded %v and %v, %v", in.Load(), s.SignIns, s.Links, err)
	}
	if route, ok := w.Routes.Get(id); !ok || len(route.SignIns) != 1 {
		t.Errorf("the route has %v", route.SignIns)
	}
}

func TestSignInsEndWithTheToken(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *lifecycle.Options) { o.TokenLife, o.SignInLife = time.Hour, 24*time.Hour })
	created, _ := w.Make(lifecycle.Request{})
	if err := w.Manager.SignIn(t.Context(), created.ID, "another token's digest", session.SignIn{ID: "in"}); session.CodeOf(err) != session.CodeUnauthorized {
		t.Errorf("with a replaced token: got %v", err)
	}
	if err := w.Manager.SignIn(t.Context(), created.ID, created.Token.Digest, session.SignIn{ID: "in", Digest: "cookie"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Manager.NewLink(t.Context(), created.ID, session.Link{Digest: "code"}); err != nil {
		t.Fatal(err)
	}
	s, err := w.Get(t.Context(), created.ID)
	if err != nil || len(s.SignIns) != 1 || !s.SignIns[0].ExpiresAt.Equal(s.Token.ExpiresAt) {
		t.Fatalf("got %+v, %v, want a sign-in that ends with the token", s.SignIns, err)
	}
	if _, err := w.Manager.Rotate(t.Context(), created.ID, "new", time.Minute); err != nil {
		t.Fatal(err)
	}
	if s, err = w.Get(t.Context(), created.ID); err != nil || len(s.SignIns) != 0 || len(s.Links) != 0 {
		t.Errorf("after a rotation: %v and %v, %v", s.SignIns, s.Links, err)
	}
	if err := w.Manager.Redeem(t.Context(), created.ID, "code", "", session.SignIn{}); session.CodeOf(err) != session.CodeUnauthorized {
		t.Errorf("a link from before: got %v", err)
	}
}

// What strangers to the operator can make grow is bounded.
func TestSignInsAndLinksAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := session.Session{}
	for i := range 100 {
		s = s.Linked(session.Link{Digest: string(rune('a' + i)), ExpiresAt: now.Add(time.Minute)}, now)
		s = s.SignedIn(session.SignIn{ID: string(rune('a' + i)), ExpiresAt: now.Add(time.Hour)}, now)
	}
	if len(s.Links) != session.MaxLinks || len(s.SignIns) != session.MaxSignIns || s.SignIns[session.MaxSignIns-1].ID != string(rune('a'+99)) {
		t.Errorf("%d links and %d sign-ins", len(s.Links), len(s.SignIns))
	}
	if s = s.Linked(session.Link{}, now.Add(2*time.Hour)); len(s.Links) != 1 || len(s.PresentSignIns(now.Add(2*time.Hour))) != 0 {
		t.Errorf("expired ones are kept: %v", s.Links)
	}
}

// A link that is another browser's is not used up by the attempt.
func TestBoundLinkAdmitsItsBrowserOnly(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made, _ := w.Make(lifecycle.Request{})
	if _, err := w.Manager.NewLink(t.Context(), made.ID, session.Link{Digest: "code", Binding: "of this browser"}); err != nil {
		t.Fatal(err)
	}
	for _, binding := range []string{"", "of another browser"} {
		if err := w.Manager.Redeem(t.Context(), made.ID, "code", binding, session.SignIn{ID: "in"}); session.CodeOf(err) != session.CodeUnauthorized {
			t.Errorf("%q: got %v, want it refused", binding, err)
		}
	}
	if err := w.Manager.Redeem(t.Context(), made.ID, "code", "of this browser", session.SignIn{ID: "in", Digest: "cookie"}); err != nil {
		t.Errorf("its browser: %v", err)
	}
}
