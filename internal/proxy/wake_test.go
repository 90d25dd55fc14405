package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/session"
)

// stoppedSession is a fixture with a session that was stopped as idle; wake is called to start it.
func stoppedSession(t *testing.T, wake func(*fixture, context.Context) error) (w *fixture, woken *atomic.Int64) {
	t.Helper()
	woken = &atomic.Int64{}
	w = setup(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("awake")) }, func(o *Options) {
		o.WakeTimeout = 300 * time.Millisecond
		o.Wake = func(ctx context.Context, id session.ID) error {
			if id != testID {
				t.Errorf("session %s was woken", id)
			}
			woken.Add(1)
			return wake(w, ctx)
		}
	})
	r := w.route()
	r.Running, r.Wakes, r.Address = false, true, ""
	w.table.Set(r)
	return w, woken
}

func TestRequestWakesSessionStoppedAsIdle(t *testing.T) {
	t.Parallel()
	w, woken := stoppedSession(t, func(w *fixture, _ context.Context) error {
		w.table.Set(w.route())
		return nil
	})
	for range 2 {
		if a := w.get(t, "/x"); a.status != http.StatusOK || a.body != "awake" {
			t.Errorf("got %+v", a)
		}
	}
	if n := woken.Load(); n != 1 {
		t.Errorf("woken %d times, want once", n)
	}
}

func TestWakeRefusedByOrigin(t *testing.T) {
	t.Parallel()
	w, woken := stoppedSession(t, func(*fixture, context.Context) error { return nil })
	r := w.request(t, http.MethodGet, "/x", nil)
	r.Header.Set("Authorization", "Bearer wrong")
	if a := w.do(t, r); a.status != http.StatusUnauthorized {
		t.Errorf("a wrong token: got %d", a.status)
	}
	r = w.request(t, http.MethodPost, "/x", nil)
	r.Header.Set("Origin", "https://evil.example")
	if a := w.do(t, r); a.status != http.StatusForbidden {
		t.Errorf("a request of another site: got %d", a.status)
	}
	if n := woken.Load(); n != 0 {
		t.Errorf("woken %d times, want never", n)
	}
}

func TestWaitForWakeIsBounded(t *testing.T) {
	t.Parallel()
	w, _ := stoppedSession(t, func(_ *fixture, ctx context.Context) error {
		<-ctx.Done()
		return session.Errorf(session.CodeCanceled, "the caller left before the start was done; it goes on")
	})
	started := time.Now()
	a := w.get(t, "/x")
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "is starting") {
		t.Errorf("got %+v, want 503 and Retry-After", a)
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestRefusedWakeReportsReason(t *testing.T) {
	t.Parallel()
	w, _ := stoppedSession(t, func(*fixture, context.Context) error {
		return session.Errorf(session.CodeLimit, "3 of 3 sessions running")
	})
	if a := w.get(t, "/x"); a.status != http.StatusTooManyRequests || !strings.Contains(a.body, "3 of 3") || a.header.Get("Retry-After") == "" {
		t.Errorf("got %+v, want 429 with the reason", a)
	}
}

func TestWakeRefusedByPressureReportsReason(t *testing.T) {
	t.Parallel()
	w, _ := stoppedSession(t, func(*fixture, context.Context) error {
		return session.Errorf(session.CodePressure, "host memory at 96 %%, critical from 95 %%").After(15 * time.Second)
	})
	if a := w.get(t, "/x"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "host memory at 96 %, critical from 95 %") ||
		a.header.Get("Retry-After") != "15" {
		t.Errorf("got %+v, want 503 with the reason", a)
	}
}

func TestBrowserGetsCapacityPage(t *testing.T) {
	t.Parallel()
	for want, refusal := range map[int]error{
		http.StatusTooManyRequests:    session.Errorf(session.CodeLimit, "3 of 3 sessions running"),
		http.StatusServiceUnavailable: session.Errorf(session.CodePressure, "host memory at 96 %%, critical from 95 %%"),
	} {
		w, _ := stoppedSession(t, func(*fixture, context.Context) error { return refusal })
		a := w.do(t, w.navigation(t, "/"))
		if a.status != want || !strings.Contains(a.body, session.MessageOf(refusal)) || a.header.Get("Retry-After") == "" ||
			strings.Contains(a.body, "http-equiv") {
			t.Errorf("got %+v, want %d with the reason", a, want)
		}
	}
}

// A browser gets a page that reloads until the session runs.
func TestBrowserGetsReloadingPageDuringWake(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	w, _ := stoppedSession(t, func(*fixture, context.Context) error { close(started); return nil })
	a := w.do(t, w.navigation(t, "/"))
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `http-equiv="refresh"`) ||
		!strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %+v", a)
	}
	<-started
}
