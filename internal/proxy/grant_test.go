package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

const nextToken = session.Secret("token-of-session-one-after-rotation")

// rotated is the route of the session after a rotation with the given grace period.
func (w *fixture) rotated(grace time.Duration) session.Route {
	r := w.route()
	r.Token.Digest = w.keys.Digest(nextToken)
	r.Token.PreviousDigest, r.Token.PreviousExpiresAt = w.keys.Digest(testToken), time.Now().Add(grace)
	return r
}

func TestBothTokensAreValidDuringGracePeriod(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
		o.Access = admitting(t, access.Options{Now: func() time.Time { return now }})
	})
	w.table.Set(w.rotated(time.Minute))
	with := func(token session.Secret) int {
		r := w.request(t, http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
		return w.do(t, r).status
	}
	if old, fresh := with(testToken), with(nextToken); old != 200 || fresh != 200 {
		t.Errorf("during the grace: got %d with the old token and %d with the new one, want 200 for both", old, fresh)
	}
	now = now.Add(time.Minute + time.Second)
	if old, fresh := with(testToken), with(nextToken); old != 401 || fresh != 200 {
		t.Errorf("after the grace: got %d with the old token and %d with the new one, want 401 and 200", old, fresh)
	}
}

// Changes of a route's tokens, minute by minute, and their effect on a request that was admitted at the start.
func TestGrantEndsWithToken(t *testing.T) {
	t.Parallel()
	route := func(present, previous string, presentLife, previousLife time.Duration) session.Route {
		r := session.Route{ID: testID, Address: "10.0.0.2:1", Running: true, Token: session.Token{Digest: present, PreviousDigest: previous}}
		if presentLife > 0 {
			r.Token.ExpiresAt = time.Now().Add(presentLife)
		}
		if previousLife > 0 {
			r.Token.PreviousExpiresAt = time.Now().Add(previousLife)
		}
		return r
	}
	for name, c := range map[string]struct {
		next func() session.Route // set after a minute; nil: none
		ends time.Duration        // end of the request, from the start; 0: never
		why  error
	}{
		"expiry":          {nil, time.Hour, errExpired},
		"rotated at once": {func() session.Route { return route("b", "", 0, 0) }, time.Minute, errRotated},
		"rotated with a grace": {
			func() session.Route { return route("b", "a", 0, 30*time.Second) }, time.Minute + 30*time.Second, errRotated,
		},
		"a longer life":   {func() session.Route { return route("a", "", 5*time.Hour, 0) }, time.Minute + 5*time.Hour, errExpired},
		"a shorter life":  {func() session.Route { return route("a", "", time.Second, 0) }, time.Minute + time.Second, errExpired},
		"no end any more": {func() session.Route { return route("a", "", 0, 0) }, 0, nil},
		"swept too early": {func() session.Route { return route("", "", 0, 0) }, time.Minute, errRotated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				table, begun := NewTable(), time.Now()
				table.Set(route("a", "", time.Hour, 0))
				ctx, leave := joined(t, table.entry(testID).present)
				ended := make(chan time.Duration, 1)
				context.AfterFunc(ctx, func() { ended <- time.Since(begun) })
				<-time.After(time.Minute)
				if c.next != nil {
					table.Set(c.next())
				}
				<-time.After(10 * time.Hour)
				synctest.Wait()
				select {
				case got := <-ended:
					if got != c.ends || !errors.Is(context.Cause(ctx), c.why) {
						t.Errorf("ended after %s: %v; want %s: %v", got, context.Cause(ctx), c.ends, c.why)
					}
				default:
					if c.ends != 0 {
						t.Errorf("still running after ten hours, want an end after %s", c.ends)
					}
				}
				leave()
				table.Close()
			})
		})
	}
}

// joined returns the context of a request that the grant admitted.
func joined(t *testing.T, g *grant) (ctx context.Context, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	one := &call{cancel: cancel, w: &recorder{ResponseWriter: httptest.NewRecorder()}}
	if err := g.join(one); err != nil {
		t.Fatalf("the grant has ended: %v", err)
	}
	return ctx, func() { g.leave(one) }
}

func TestSecondRotationEndsEarlierGracePeriod(t *testing.T) {
	t.Parallel()
	table := NewTable()
	defer table.Close()
	r := session.Route{ID: testID, Address: "10.0.0.2:1", Running: true, Token: session.Token{Digest: "a"}}
	table.Set(r)
	first := table.entry(testID).present
	r.Token.Digest, r.Token.PreviousDigest, r.Token.PreviousExpiresAt = "b", "a", time.Now().Add(time.Minute)
	table.Set(r)
	second := table.entry(testID).present
	if !first.valid() {
		t.Error("the first token's requests ended although it has a grace period")
	}
	r.Token.Digest, r.Token.PreviousDigest = "c", "b"
	table.Set(r)
	if first.valid() || !second.valid() {
		t.Errorf("after the second rotation: the first token's requests are valid: %v, the second's: %v; want false and true", first.valid(), second.valid())
	}
	r.Token.Digest, r.Token.PreviousDigest, r.Token.PreviousExpiresAt = "d", "", time.Time{}
	table.Set(r)
	if second.valid() {
		t.Error("a rotation without a grace period does not end an older token's requests")
	}
}

func TestThrottledClientGetsRetryAfter(t *testing.T) {
	t.Parallel()
	limit := &scriptedThrottle{}
	var trail lockedBuffer
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
		o.Access = admitting(t, access.Options{
			Throttle: limit, Trail: access.NewTrail(discardLogger(), slog.New(slog.NewJSONHandler(&trail, nil))),
		})
	})
	ask := func(authorization string) answer {
		r := w.request(t, http.MethodGet, "/", nil)
		r.Header.Set("Authorization", authorization)
		return w.do(t, r)
	}
	ask("Bearer wrong").mustBe(t, 401, session.CodeUnauthorized, "a wrong token")
	ask("").mustBe(t, 401, session.CodeUnauthorized, "no token")
	limit.wait = 1500 * time.Millisecond
	got := ask("Bearer wrong")
	got.mustBe(t, 429, session.CodeTooManyAttempts, "too many wrong tokens")
	if got.header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After: got %q, want 2", got.header.Get("Retry-After"))
	}
	if got := w.get(t, "/"); got.status != 200 {
		t.Errorf("the right token: got %d, want 200 despite wrong ones from the same address", got.status)
	}
	if seen := limit.seen; len(seen) != 3 || seen[0] != access.Wrong || seen[1] != access.Missing {
		t.Errorf("counted %v, want wrong, missing, wrong", seen)
	}
	if got := strings.Count(trail.String(), `"session_id":"`+string(testID)+`"`); got != 2 {
		t.Errorf("%d records name the session, want the two that were not limited:\n%s", got, trail.String())
	}
}

// scriptedThrottle counts rejections, and returns the delays that a test sets.
type scriptedThrottle struct {
	wait time.Duration
	seen []access.TokenState
}

func (s *scriptedThrottle) Failed(_ netip.Addr, state access.TokenState) time.Duration {
	s.seen = append(s.seen, state)
	return s.wait
}

func (s *scriptedThrottle) Limited(netip.Addr) bool { return false }

// valid reports whether the grant has not ended.
func (g *grant) valid() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause == nil
}

func TestTokenValidAgainGetsNewGrant(t *testing.T) {
	t.Parallel()
	table := NewTable()
	defer table.Close()
	r := session.Route{ID: testID, Address: "10.0.0.2:1", Running: true, Token: session.Token{Digest: "a", ExpiresAt: time.Now().Add(-time.Second)}}
	table.Set(r)
	if table.entry(testID).present.valid() {
		t.Error("the grant of an expired token is valid")
	}
	r.Token.ExpiresAt = time.Now().Add(time.Hour)
	table.Set(r)
	if !table.entry(testID).present.valid() {
		t.Error("the token's expiry was extended, and its requests end at once")
	}
}
