package httpapi_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"berth/internal/session"
)

// Two hundred callers at once get exactly as many sessions as there are places, whatever the order, and every other is
// told the same.
func TestRacingCreatesEndWithExactlyTheLimit(t *testing.T) {
	t.Parallel()
	const callers, places = 200, 7
	w := newWorld(t, func(o *session.Options) { o.MaxSessions = places })
	var mu sync.Mutex
	made, refused := 0, 0
	begin := make(chan struct{})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			<-begin
			a := w.call(http.MethodPost, "/sessions", adminToken, `{}`)
			mu.Lock()
			defer mu.Unlock()
			if a.status == http.StatusCreated {
				made++
				return
			}
			refused++
			p := a.problem(t)
			if a.status != http.StatusTooManyRequests || p.Code != session.CodeLimit || a.header.Get("Retry-After") != "30" ||
				!strings.HasPrefix(p.Detail, "7 of 7 sessions running; ") {
				t.Errorf("got %d, Retry-After %q, %s; want 429 with the reason and when to try again", a.status, a.header.Get("Retry-After"), a.body)
			}
		})
	}
	close(begin)
	all.Wait()
	if made != places || refused != callers-places {
		t.Errorf("%d creates were answered and %d refused, want %d and %d", made, refused, places, callers-places)
	}
	page, err := w.List(t.Context(), session.Query{Statuses: []session.Status{session.Creating, session.Running}})
	if err != nil || len(page.Sessions) != places {
		t.Errorf("there are %d sessions (%v), want %d", len(page.Sessions), err, places)
	}
	if containers, err := w.Engine.List(t.Context()); err != nil || len(containers) != places {
		t.Errorf("there are %d containers (%v), want %d", len(containers), err, places)
	}
}
