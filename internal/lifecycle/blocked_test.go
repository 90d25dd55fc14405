package lifecycle_test

import (
	"fmt"
	"strings"
	"testing"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// newRunning returns a fixture with a session that runs.
func newRunning(t *testing.T) (*fixture, session.Session) {
	t.Helper()
	h := newFixture(t)
	issued, err := h.Create(t.Context(), lifecycle.Request{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := issued.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h, s
}

// Programs in a container cannot push the events out that tell what happened to their session.
func TestBlockedRequestsTakeAFewEventsOnly(t *testing.T) {
	t.Parallel()
	h, s := newRunning(t)
	for i := range 100 {
		for range 2 {
			if err := h.Blocked(t.Context(), s.ID, fmt.Sprintf("host-%d.example:443 is not on the list", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.Blocked(t.Context(), s.ID, "host-99.example:443 is not on the list"); err != nil { // it is the last one already
		t.Fatal(err)
	}
	got := h.stored(s.ID)
	var blocked []string
	kinds := map[session.EventType]bool{}
	for _, e := range got.Timeline {
		if kinds[e.Type] = true; e.Type == session.EventBlocked {
			blocked = append(blocked, e.Reason)
		}
	}
	if len(blocked) != 5 || blocked[4] != "host-99.example:443 is not on the list" || !kinds[session.EventCreated] || !kinds[session.EventReady] {
		t.Errorf("the timeline is %v, want created, ready, and the last five blocked requests", got.Timeline)
	}
}

func TestBlockedRequestIsOneLine(t *testing.T) {
	t.Parallel()
	h, s := newRunning(t)
	if err := h.Blocked(t.Context(), s.ID, "/git/h\x1b[31m/\n"+strings.Repeat("x", 32<<10)); err != nil {
		t.Fatal(err)
	}
	events := h.stored(s.ID).Timeline
	if reason := events[len(events)-1].Reason; len(reason) > 400 || strings.ContainsAny(reason, "\x1b\n") {
		t.Errorf("the timeline has %q", reason)
	}
}
