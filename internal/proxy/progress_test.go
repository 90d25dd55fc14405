package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/origin"
	"berth/internal/session"
	"berth/internal/waittest"
)

// progress is what the script of the page is told.
func (w *fixture) progress(t *testing.T) session.Progress {
	t.Helper()
	r := w.navigation(t, origin.Progress)
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	a := w.do(t, r)
	var got session.Progress
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %+v and error %v, want JSON that is not kept", a, err)
	}
	return got
}

var refresh = regexp.MustCompile(`<noscript><meta http-equiv="refresh" content="2"></noscript>`)

func TestProgressPageShowsStageOfStart(t *testing.T) {
	t.Parallel()
	for stage, label := range map[session.Stage]string{
		session.StageQueued: "Requested", session.StageContainer: "Container", session.StageServer: "Server",
	} {
		w := setup(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
			o.Progress = func(session.ID) session.Progress { return session.Progress{Stage: stage} }
		})
		r := w.route()
		r.Running, r.Address, r.StartsAt = false, "", time.Now()
		w.table.Set(r)
		a := w.do(t, w.navigation(t, "/"))
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !refresh.MatchString(a.body) ||
			!strings.Contains(a.body, `class="now" aria-current="step">`+label) || !strings.Contains(a.body, `aria-live="polite"`) {
			t.Errorf("%s: got %+v", stage, a)
		}
		if diff := cmp.Diff(session.Progress{Stage: stage}, w.progress(t)); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", stage, diff)
		}
	}
}

// The policy names the script by its hash, allows nothing else to run, and only the session's own origin to be asked.
func TestProgressPageMayRunItsScriptOnly(t *testing.T) {
	t.Parallel()
	w, _ := stoppedSession(t, func(*fixture, context.Context) error { return nil })
	a := w.do(t, w.navigation(t, "/"))
	_, rest, _ := strings.Cut(a.body, "<script>")
	script, _, _ := strings.Cut(rest, "</script>")
	sum := sha256.Sum256([]byte(script))
	csp := strings.Join(a.header["Content-Security-Policy"], "; ")
	for _, want := range []string{
		"default-src 'none'", "script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'", "connect-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	} {
		if !strings.Contains(csp, want) {
			t.Errorf("got policy %q, want %q in it", csp, want)
		}
	}
	if strings.Count(a.body, "<script") != 1 || strings.Contains(a.body, "://") {
		t.Errorf("the page has another script or another address in it:\n%s", a.body)
	}
}

func TestFailedWakeIsToldOnceAndThenTriedAgain(t *testing.T) {
	t.Parallel()
	fault := session.Errorf(session.CodeStartFailed, "the server exited with <b>code 7</b> at start")
	w, woken := stoppedSession(t, func(*fixture, context.Context) error { return fault })
	if a := w.do(t, w.navigation(t, "/")); !refresh.MatchString(a.body) {
		t.Fatalf("the first page: got %+v, want one that goes on", a)
	}
	waittest.True(t, "the wake has ended", func() bool {
		running := &w.table.entry(testID).use.wakes
		running.mu.Lock()
		defer running.mu.Unlock()
		return running.running == 0
	})
	a := w.do(t, w.navigation(t, "/"))
	if !strings.Contains(a.body, "could not be started: the server exited with &lt;b&gt;code 7&lt;/b&gt; at start") || refresh.MatchString(a.body) ||
		a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "Try again") {
		t.Errorf("after the failure: got %+v, want its reason, and no reload by itself", a)
	}
	if n := woken.Load(); n != 1 {
		t.Errorf("woken %d times, want once: nobody has asked again", n)
	}
	if a := w.do(t, w.navigation(t, "/")); !refresh.MatchString(a.body) || woken.Load() != 2 {
		t.Errorf("when asked again: got %+v, want another start", a)
	}
}

func TestProgressOfWake(t *testing.T) {
	t.Parallel()
	release := make(chan error, 1) // the wake may have given up on a machine that stood still
	w, _ := stoppedSession(t, func(_ *fixture, ctx context.Context) error {
		select {
		case err := <-release:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if got := w.progress(t); got.Stage != session.StageStopped {
		t.Errorf("before: got %+v, want stopped: asking starts nothing", got)
	}
	w.do(t, w.navigation(t, "/"))
	if got := w.progress(t); got.Stage != session.StageQueued {
		t.Errorf("meanwhile: got %+v, want queued", got)
	}
	release <- session.Errorf(session.CodeStartFailed, "no image")
	var got session.Progress
	waittest.True(t, "the failure is told", func() bool {
		got = w.progress(t)
		return got.Stage == session.StageFailed
	})
	if got.Message != "the session could not be started: no image" {
		t.Errorf("got %+v, want the reason", got)
	}
	w.table.Set(w.route())
	if got := w.progress(t); got.Stage != session.StageReady {
		t.Errorf("afterwards: got %+v, want ready", got)
	}
}

func TestProgressNeedsCredential(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the session's server was asked") })
	for _, credential := range []string{"", "Bearer wrong"} {
		r := w.navigation(t, origin.Progress)
		r.Header.Set("Sec-Fetch-Mode", "cors")
		r.Header.Set("Authorization", credential)
		if a := w.do(t, r); a.status != http.StatusUnauthorized {
			t.Errorf("%q: got %+v, want 401", credential, a)
		}
	}
}

func TestBrowserIsToldThatSessionDoesNotRun(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
		o.Progress = func(session.ID) session.Progress {
			return session.Progress{Stage: session.StageFailed, Message: "the server ran out of memory at start"}
		}
	})
	r := w.route()
	r.Running, r.Address = false, ""
	w.table.Set(r)
	if a := w.do(t, w.navigation(t, "/")); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "ran out of memory") || refresh.MatchString(a.body) {
		t.Errorf("a browser: got %+v, want a page with the reason", a)
	}
	if a := w.get(t, "/"); a.code() != session.CodeNotRunning {
		t.Errorf("a program: got %+v, want a problem document", a)
	}
}
