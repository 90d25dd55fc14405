package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

func TestRotateWithGraceOverHTTP(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, old := w.Make(lifecycle.Request{})
	path := "/sessions/" + string(s.ID)
	for _, grace := range []string{"soon", "30", "-1s", "10m1s", "1h", "1e9s"} {
		a := w.call(http.MethodPost, path+"/auth/rotate?grace="+grace, old.Reveal(), "")
		if p := a.problem(t); a.status != http.StatusBadRequest || p.Code != session.CodeInvalid || len(p.Faults) != 1 {
			t.Errorf("grace %q: got %d %s, want 400", grace, a.status, a.body)
		}
	}
	made := decode[httpapi.NewToken](t, w.call(http.MethodPost, path+"/auth/rotate?grace=30s", old.Reveal(), ""))
	if end := made.PreviousExpiresAt; end == nil || !end.Equal(made.RotatedAt.Add(30*time.Second)) {
		t.Errorf("got %+v, want the grace to end 30 s after the rotation", made.Auth)
	}
	for name, token := range map[string]string{"old": old.Reveal(), "new": made.Token} {
		if a := w.call(http.MethodGet, path+"/auth", token, ""); a.status != http.StatusOK || decode[httpapi.Auth](t, a).PreviousExpiresAt == nil {
			t.Errorf("the %s token in the grace period: got %d %s", name, a.status, a.body)
		}
	}
	w.Clock.Advance(31 * time.Second)
	if a := w.call(http.MethodGet, path, old.Reveal(), ""); a.status != http.StatusUnauthorized {
		t.Errorf("the old token after the grace period: got %d, want 401", a.status)
	}
	if auth := decode[httpapi.Auth](t, w.call(http.MethodGet, path+"/auth", made.Token, "")); auth.PreviousExpiresAt != nil || !auth.Valid {
		t.Errorf("after the grace period: got %+v, want one valid token", auth)
	}
}

func TestAuthSessionsListsValidTokens(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	late, token := w.Make(lifecycle.Request{Owner: "ann"})
	w.Clock.Advance(24 * time.Hour)
	a, _ := w.Make(lifecycle.Request{Owner: "ann"})
	b, _ := w.Make(lifecycle.Request{Owner: "bob"})
	c, _ := w.Make(lifecycle.Request{Owner: "ann"})
	list := func(query string) (found []session.ID) {
		t.Helper()
		for after := ""; ; {
			page := decode[struct {
				Sessions []httpapi.Auth
				Next     string
			}](t, w.call(http.MethodGet, "/auth/sessions?limit=1&after="+after+query, adminToken, ""))
			for _, auth := range page.Sessions {
				if !auth.Valid || auth.ExpiresAt == nil || auth.RotatedAt.IsZero() {
					t.Errorf("got %+v, want a valid token with its dates", auth)
				}
				found = append(found, auth.ID)
			}
			if after = page.Next; after == "" {
				return found
			}
		}
	}
	if got := list(""); len(got) != 3 || got[0] != a.ID || got[1] != b.ID || got[2] != c.ID {
		t.Errorf("got %v, want %s, %s and %s", got, a.ID, b.ID, c.ID)
	}
	if got := list("&owner=bob"); len(got) != 1 || got[0] != b.ID {
		t.Errorf("bob's: got %v, want %s", got, b.ID)
	}
	// Before the sweep the response says that the token has expired; after it, the token is like any wrong one.
	path := "/sessions/" + string(late.ID) + "/auth"
	expired := w.call(http.MethodGet, path, token.Reveal(), "").problem(t).Detail
	if _, err := w.SweepTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	swept, wrong := w.call(http.MethodGet, path, token.Reveal(), ""), w.call(http.MethodGet, path, "wrong", "")
	if expired == swept.problem(t).Detail || string(swept.body) != string(wrong.body) {
		t.Errorf("got %q, then %s; want the expiry named, and after the sweep what a wrong token gets: %s", expired, swept.body, wrong.body)
	}
	if auth := decode[httpapi.Auth](t, w.call(http.MethodGet, path, adminToken, "")); auth.Valid || auth.ExpiresAt == nil {
		t.Errorf("a swept session: got %+v, want it invalid, with its expiry", auth)
	}
}

// events opens the stream of a session's events, and returns a channel that is closed at its end.
func (w *fixture) events(id session.ID, token session.Secret) (ended <-chan struct{}) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/sessions/"+string(id)+"/events", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	if resp.StatusCode != http.StatusOK || !lines.Scan() {
		w.t.Fatalf("got %s, want a stream with a line", resp.Status)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for lines.Scan() {
		}
	}()
	return over
}

func TestReplacedTokenEndsEventStream(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, old := w.Make(lifecycle.Request{})
	first, operator := w.events(s.ID, old), w.events(s.ID, adminToken)
	_, fresh, err := w.RotateWithGrace(t.Context(), s.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	second := w.events(s.ID, fresh)
	if _, _, err := w.Rotate(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	for name, over := range map[string]<-chan struct{}{"oldest": first, "old": second} {
		select {
		case <-over:
		case <-time.After(5 * time.Second):
			t.Errorf("the stream of the %s token is still open after 5 s", name)
		}
	}
	if ended(operator) {
		t.Error("the operator's stream has ended")
	}
}

// ended reports whether a stream has ended.
func ended(over <-chan struct{}) bool {
	select {
	case <-over:
		return true
	default:
		return false
	}
}

// throttle is a throttle whose decisions a test sets.
type throttle struct {
	limited bool
	seen    []access.TokenState
}

func (f *throttle) Limited(netip.Addr) bool { return f.limited }

func (f *throttle) Failed(_ netip.Addr, state access.TokenState) time.Duration {
	f.seen = append(f.seen, state)
	if f.limited && state == access.Wrong {
		return 1500 * time.Millisecond
	}
	return 0
}

// countedSessions counts the queries for a session.
type countedSessions struct {
	httpapi.Sessions
	asked *int
}

func (c *countedSessions) Get(ctx context.Context, id session.ID) (session.Session, error) {
	*c.asked++
	return c.Sessions.Get(ctx, id)
}

// A client over the limit causes no store query, and is still admitted with a valid token.
func TestLimitedAddressesDoNotReachTheStore(t *testing.T) {
	t.Parallel()
	limit := &throttle{}
	asked := 0
	w := newFixtureWith(t, func(w *fixture, o *httpapi.Options) {
		o.Access = w.admitting(limit)
		o.Known = func(id session.ID) session.Token { r, _ := w.Routes.Get(id); return r.Token }
		o.Sessions = &countedSessions{Sessions: o.Sessions, asked: &asked}
	})
	s, own := w.Make(lifecycle.Request{})
	path := "/sessions/" + string(s.ID) + "/auth"
	if a := w.call(http.MethodGet, path, "wrong", ""); a.status != http.StatusUnauthorized || asked != 1 {
		t.Errorf("a wrong token: got %d after %d store queries, want 401 after one", a.status, asked)
	}
	limit.limited = true
	asked = 0
	for _, p := range []string{path, "/sessions/" + string(session.NewID()) + "/auth", "/sessions"} {
		a := w.call(http.MethodGet, p, "wrong", "")
		if a.problem(t).Code != session.CodeTooManyAttempts || a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "2" {
			t.Errorf("%s over the limit: got %d %s, Retry-After %q", p, a.status, a.body, a.header.Get("Retry-After"))
		}
	}
	if asked != 0 {
		t.Errorf("the store was queried %d times for a client over the limit", asked)
	}
	for name, token := range map[string]string{"own": own.Reveal(), "admin": adminToken} {
		if a := w.call(http.MethodGet, path, token, ""); a.status != http.StatusOK {
			t.Errorf("the %s token from a limited address: got %d %s, want 200", name, a.status, a.body)
		}
	}
	if a := w.call(http.MethodGet, path, "", ""); a.status != http.StatusUnauthorized {
		t.Errorf("no token from a limited address: got %d, want 401", a.status)
	}
}

func TestUnavailableStoreDoesNotReject(t *testing.T) {
	t.Parallel()
	limit := &throttle{}
	w := newFixtureWith(t, func(w *fixture, o *httpapi.Options) {
		o.Access = w.admitting(limit)
		o.Known = func(id session.ID) session.Token { r, _ := w.Routes.Get(id); return r.Token }
	})
	s, own := w.Make(lifecycle.Request{})
	w.Store.Fail("Get", session.Errorf(session.CodeStoreUnavailable, "away").Because(errors.New("cable cut")))
	if a := w.call(http.MethodGet, "/sessions/"+string(s.ID), own.Reveal(), ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s, want 503: it is not the token that is wrong", a.status, a.body)
	}
	if len(limit.seen) != 0 {
		t.Errorf("counted %v against the caller", limit.seen)
	}
}
