package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"berth/internal/chromiumtest"
	"berth/internal/origin"
	"berth/internal/session"
)

// browsed is a fixture with a Chromium tab, in which every name leads to the fixture, and whose requests have the session's token.
type browsed struct {
	*fixture
	tab   context.Context // chromedp keeps the tab in it
	pages atomic.Int64    // navigations so far
	asked atomic.Int64    // requests for the progress so far
}

const patience = time.Minute // for a browser on a busy machine

func browse(t *testing.T, front func(http.Handler) http.Handler, server http.HandlerFunc, change ...func(*Options)) *browsed {
	t.Helper()
	chromiumtest.Path(t)
	b := &browsed{}
	b.fixture = setupBehind(t, func(next http.Handler) http.Handler {
		if front != nil {
			next = front(next)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/favicon.ico":
				return
			case r.URL.Path == origin.Progress:
				b.asked.Add(1)
			case r.Header.Get("Sec-Fetch-Mode") == "navigate":
				b.pages.Add(1)
			}
			r.Header.Set("Authorization", "Bearer "+testToken.Reveal())
			next.ServeHTTP(w, r)
		})
	}, server, change...)
	address := b.front.Listener.Addr().String()
	b.tab = chromiumtest.Start(t, []string{address}, chromedp.Flag("host-resolver-rules", "MAP * "+address))
	return b
}

// open navigates to the session's address.
func (b *browsed) open(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+string(testID)+".localhost/")); err != nil {
		t.Fatal(err)
	}
}

// shows waits until an expression about the page has this value. While the page is replaced there may be none.
func (b *browsed) shows(t *testing.T, expression, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, patience)
	defer cancel()
	for {
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
		switch {
		case err == nil && strings.Contains(got, want):
			return
		case ctx.Err() != nil:
			t.Fatalf("%s: got %q and error %v, want %q", expression, got, err, want)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

const (
	statusText = `document.getElementById("text").textContent`
	stageNow   = `document.querySelector("[aria-current=step]").textContent`
	address    = `location.pathname + " " + document.body.textContent`
)

// landingRoute is the fixture's route, with a landing page.
func (w *fixture) landingRoute() session.Route {
	r := w.route()
	r.Profile = &session.Profile{Landing: "/{workspace}/session", Volumes: []session.Volume{{Name: session.WorkspaceVolume, Path: "/workspace"}}}
	return r
}

func workspacePage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte("<p>this is " + r.URL.Path))
}

const landed = "/L3dvcmtzcGFjZQ/session this is /L3dvcmtzcGFjZQ/session"

func TestChromiumFollowsStartToWorkspacePage(t *testing.T) {
	t.Parallel()
	var stage atomic.Value
	stage.Store(session.StageQueued)
	b := browse(t, nil, workspacePage, func(o *Options) {
		o.Progress = func(session.ID) session.Progress {
			now, _ := stage.Load().(session.Stage)
			return session.Progress{Stage: now}
		}
	})
	r := b.landingRoute()
	r.Running, r.Address, r.StartsAt = false, "", time.Now()
	b.table.Set(r)
	b.open(t)
	b.shows(t, stageNow, "Requested")
	stage.Store(session.StageContainer)
	b.shows(t, stageNow, "Container")
	b.shows(t, statusText, "The container is being made")
	stage.Store(session.StageServer)
	b.shows(t, stageNow, "Server")
	if n := b.pages.Load(); n != 1 {
		t.Errorf("%d navigations so far, want one: the page must not reload to show a stage", n)
	}
	b.table.Set(b.landingRoute())
	b.shows(t, address, landed)
}

func TestChromiumWithoutScriptsFollowsStart(t *testing.T) {
	t.Parallel()
	b := browse(t, nil, workspacePage)
	r := b.landingRoute()
	r.Running, r.Address, r.StartsAt = false, "", time.Now()
	b.table.Set(r)
	if _, err := chromedp.Call(b.tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.open(t)
	b.shows(t, stageNow, "Requested")
	b.table.Set(b.landingRoute())
	b.shows(t, address, landed)
	if n := b.asked.Load(); n != 0 {
		t.Errorf("the script has run %d times", n)
	}
}

func TestChromiumShowsWhyStartFailed(t *testing.T) {
	t.Parallel()
	var fails atomic.Bool
	fails.Store(true)
	var b *browsed
	b = browse(t, nil, workspacePage, func(o *Options) {
		o.Wake = func(context.Context, session.ID) error {
			if fails.Load() {
				return session.Errorf(session.CodeStartFailed, "the image is <i>gone</i>")
			}
			b.table.Set(b.landingRoute())
			return nil
		}
	})
	r := b.landingRoute()
	r.Running, r.Wakes, r.Address = false, true, ""
	b.table.Set(r)
	b.open(t)
	b.shows(t, statusText, "the session could not be started: the image is <i>gone</i>")
	b.shows(t, `String(document.getElementById("again").hidden)`, "false")
	if n := b.pages.Load(); n != 1 {
		t.Errorf("%d navigations, want one: the page must not start the session again by itself", n)
	}
	fails.Store(false)
	if _, err := chromedp.Run(b.tab, chromedp.Evaluate[string](`document.querySelector("#again a").click(), ""`)); err != nil {
		t.Fatal(err)
	}
	b.shows(t, address, landed)
}

// A session that is ready whenever the page asks, and does not run when it is opened, must not keep the browser busy for ever.
func TestChromiumGivesUpOnSessionThatEndsAgainAndAgain(t *testing.T) {
	t.Parallel()
	b := browse(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == origin.Progress {
				_, _ = w.Write([]byte(`{"stage":"ready"}`))
				return
			}
			next.ServeHTTP(w, r)
		})
	}, workspacePage)
	r := b.landingRoute()
	r.Running, r.Address, r.StartsAt = false, "", time.Now()
	b.table.Set(r)
	b.open(t)
	b.shows(t, statusText, "started several times in a minute")
	if n := b.pages.Load(); n != 6 {
		t.Errorf("%d navigations, want 6", n)
	}
}
