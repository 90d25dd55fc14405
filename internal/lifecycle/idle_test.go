package lifecycle_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// idleFixture returns a fixture with an idle time-out of ten minutes.
func idleFixture(t *testing.T, change ...func(*lifecycle.Options)) *fixture {
	t.Helper()
	h := newFixture(t, append([]func(*lifecycle.Options){func(o *lifecycle.Options) {
		o.IdleTimeout, o.MaxBusy, o.ReconcileEvery = 10*time.Minute, time.Hour, 10*time.Millisecond
		o.TokenLife = 0
	}}, change...)...)
	h.runManager(t)
	return h
}

func isStopped(s session.Session, _ lifecycle.Health) bool {
	return s.Status == session.Stopped && s.Operation == nil
}

func TestIdleSessionIsStoppedAndWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t)
		s, token := h.Make(lifecycle.Request{})
		if deadline := h.IdleDeadline(h.stored(s.ID)); deadline.Busy || !deadline.Until.Equal(h.stored(s.ID).LastAccessed.Add(10*time.Minute)) {
			t.Errorf("got %+v, want it stopped ten minutes after its last use", deadline)
		}
		for range 3 { // use keeps it running
			h.Clock.Advance(6 * time.Minute)
			h.Touch(s.ID)
			used := h.stored(s.ID).LastAccessed
			h.waitFor(t, s.ID, "used", func(now session.Session, _ lifecycle.Health) bool {
				return now.Status == session.Running && now.LastAccessed.After(used)
			})
		}
		h.Clock.Advance(11 * time.Minute)
		got := h.waitFor(t, s.ID, "stopped", func(now session.Session, v lifecycle.Health) bool {
			route, _ := h.Routes.Get(s.ID)
			return isStopped(now, v) && !route.Running && route.Wakes
		})
		if got.StopReason != session.StopIdle {
			t.Errorf("got %+v, want it stopped as idle", got)
		}
		if err := h.Wake(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		got = h.stored(s.ID)
		if got.Status != session.Running || got.StopReason != "" || !h.Keys.Matches(token, got.Token.Digest) {
			t.Errorf("after the wake: got %+v", got)
		}
		for range 10 { // the wake counts as use
			if err := h.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.stored(s.ID); got.Status != session.Running || got.Operation != nil {
			t.Errorf("just after the wake: got %+v", got)
		}
		if err := h.Wake(t.Context(), s.ID); err != nil {
			t.Errorf("wake of a running session: %v", err)
		}
	})
}

func TestConcurrentRequestsWakeSessionOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Clock.Advance(11 * time.Minute)
		h.waitFor(t, s.ID, "stopped", isStopped)
		before := h.stored(s.ID).Revision
		errs := make(chan error)
		for range 20 {
			go func() { errs <- h.Wake(t.Context(), s.ID) }()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if got := h.stored(s.ID); got.Status != session.Running || got.Revision != before+2 {
			t.Errorf("got %+v, want one start: two revisions after %d", got, before)
		}
	})
}

// A wake does not start a session that was stopped by a command.
func TestSessionStoppedByUserDoesNotWake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		w, err := h.Stop(t.Context(), s.ID)
		if err == nil {
			_, err = w.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if route, _ := h.Routes.Get(s.ID); route.Wakes {
			t.Errorf("got the route %+v", route)
		}
		if err := h.Wake(t.Context(), s.ID); session.CodeOf(err) != session.CodeNotRunning {
			t.Errorf("got %v, want it not running", err)
		}
	})
}

func TestWakeRespectsSessionLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t, func(o *lifecycle.Options) { o.MaxSessions = 1 })
		s, _ := h.Make(lifecycle.Request{})
		h.Clock.Advance(11 * time.Minute)
		h.waitFor(t, s.ID, "stopped", isStopped)
		h.Make(lifecycle.Request{})
		if err := h.Wake(t.Context(), s.ID); session.CodeOf(err) != session.CodeLimit {
			t.Errorf("got %v, want the limit reached", err)
		}
	})
}

// A busy server keeps its session running for MaxBusy at most. This one never answers, which counts as busy.
func TestBusyServerKeepsSessionRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t, func(o *lifecycle.Options) {
			p := o.Profiles["opencode"]
			p.Busy = []session.BusyProbe{{Path: "/path", Member: "type", Values: []string{"busy"}}}
			o.Profiles["opencode"] = p
		})
		s, _ := h.Make(lifecycle.Request{})
		h.Clock.Advance(30 * time.Minute)
		for end := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
			if deadline := h.IdleDeadline(h.stored(s.ID)); deadline.Busy && deadline.Until.Equal(h.stored(s.ID).LastAccessed.Add(70*time.Minute)) {
				break
			} else if time.Now().After(end) {
				t.Fatalf("got %+v, want it kept running by its busy server", deadline)
			}
		}
		if got := h.stored(s.ID); got.Status != session.Running {
			t.Errorf("got %+v, want it running", got)
		}
		h.Clock.Advance(time.Hour)
		if got := h.waitFor(t, s.ID, "stopped", isStopped); got.StopReason != session.StopIdle {
			t.Errorf("got %+v", got)
		}
	})
}

func TestExpiredSessionIsStoppedAndNotStarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := idleFixture(t, func(o *lifecycle.Options) { o.IdleTimeout, o.MaxLifetime = 0, time.Hour })
		s, _ := h.Make(lifecycle.Request{})
		h.Clock.Advance(59 * time.Minute)
		if err := h.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.stored(s.ID); got.Status != session.Running || !h.IdleDeadline(got).Until.Equal(got.ExpiresAt) {
			t.Errorf("before the end: got %+v, %+v", got, h.IdleDeadline(got))
		}
		h.Clock.Advance(2 * time.Minute)
		if got := h.waitFor(t, s.ID, "stopped", isStopped); got.StopReason != session.StopLifetime {
			t.Errorf("got %+v", got)
		}
		if _, err := h.Start(t.Context(), s.ID); session.CodeOf(err) != session.CodeConflict {
			t.Errorf("start after the end: got %v, want it refused", err)
		}
		if err := h.Wake(t.Context(), s.ID); session.CodeOf(err) != session.CodeNotRunning {
			t.Errorf("wake after the end: got %v", err)
		}
		w, err := h.Delete(t.Context(), s.ID)
		if err == nil {
			_, err = w.Wait(context.WithoutCancel(t.Context()))
		}
		if err != nil {
			t.Errorf("delete after the end: %v", err)
		}
	})
}
