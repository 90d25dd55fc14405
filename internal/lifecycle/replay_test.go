package lifecycle_test

import (
	"testing"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// A create can be repeated for the whole lifetime of the session, also after the session has changed.
func TestRepeatedCreateReturnsChangedSession(t *testing.T) {
	t.Parallel()
	req := lifecycle.Request{Owner: "alice", Image: "stub:1", IdempotencyKey: "alice's", Metadata: session.Metadata{"plan": "a"}}
	for name, change := range map[string]func(t *testing.T, h *fixture, s session.Session){
		"upgraded": func(t *testing.T, h *fixture, s session.Session) {
			for _, image := range []string{"stub:2", "stub:3"} {
				if _, err := h.upgraded(t, s.ID, lifecycle.UpgradeRequest{Image: image}); err != nil {
					t.Fatal(err)
				}
			}
		},
		"adopted from the engine": func(t *testing.T, h *fixture, s session.Session) {
			now := h.stored(s.ID)
			now.Owner, now.Metadata = "", nil
			if _, err := h.Store.Update(t.Context(), now, session.Unlimited); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFixture(t)
			s, _ := h.Make(req)
			change(t, h, s)
			again, err := h.Create(t.Context(), req)
			if err != nil || again.Session().ID != s.ID || !again.Replayed {
				t.Fatalf("got %+v, %v; want the same session", again, err)
			}
			if now := h.stored(s.ID); now.Owner != "alice" || now.Metadata["plan"] != "a" {
				t.Errorf("got owner %q, metadata %v; want those of the request", now.Owner, now.Metadata)
			}
			other := req
			other.Metadata = session.Metadata{"plan": "b"}
			_, err = h.Create(t.Context(), other)
			wantCode(t, err, session.CodeIdempotencyMismatch, "a different request")
		})
	}
}
