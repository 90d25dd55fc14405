package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

// The events of a session name the actor and the reason.
func TestEventsListSessionHistory(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, "{}"))
	path := "/sessions/" + string(made.ID)
	w.call(http.MethodPost, path+"/stop", adminToken, "")
	w.call(http.MethodPost, path+"/start", adminToken, "")
	rotated := decode[httpapi.NewToken](t, w.call(http.MethodPost, path+"/auth/rotate", made.Token, ""))
	w.call(http.MethodPost, path+"/restart", adminToken, "")

	got := decode[httpapi.Events](t, w.call(http.MethodGet, path+"/events", rotated.Token, ""))
	var story []string
	for i, m := range got.Events {
		story = append(story, string(m.Type)+" by "+m.By)
		if i > 0 && m.At.Before(got.Events[i-1].At) {
			t.Errorf("%s happened before its predecessor", m.Type)
		}
	}
	want := []string{
		"created by operator", "ready by operator", "stopped by operator", "starting by operator", "ready by operator", "rotated by user", "restarted by operator",
	}
	if diff := cmp.Diff(want, story); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A call that changes nothing adds no event, and the actor of automatic operations is Berth.
func TestEventsOfRepeatedStopAndFailedUpgrade(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Engine.BehaveImage("stub:broken", runtimetest.Behaviour{Exits: true, ExitCode: 3})
	s, token := w.Make(lifecycle.Request{})
	path := "/sessions/" + string(s.ID)
	w.call(http.MethodPost, path+"/upgrade", adminToken, `{"image":"stub:broken"}`)
	for range 3 {
		if a := w.call(http.MethodPost, path+"/stop", adminToken, ""); a.status != http.StatusOK {
			t.Fatalf("stop: got %d %s", a.status, a.body)
		}
	}
	var reverted, stopped int
	for _, m := range decode[httpapi.Events](t, w.call(http.MethodGet, path+"/events", token.Reveal(), "")).Events {
		switch m.Type {
		case session.EventReverted:
			reverted++
			if m.By != "berth" || !strings.Contains(m.Reason, "stub:broken") {
				t.Errorf("got %+v, want it by Berth itself, with the image that failed", m)
			}
		case session.EventStopped:
			stopped++
		default:
		}
	}
	if reverted != 1 || stopped != 1 {
		t.Errorf("got %d times reverted and %d times stopped, want each once", reverted, stopped)
	}
}

func TestEventsAreStreamedAsTheyHappen(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, token := w.Make(lifecycle.Request{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/sessions/"+string(s.ID)+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("got %q", kind)
	}
	lines := bufio.NewScanner(resp.Body)
	next := func() (m session.Event) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &m); err != nil {
					t.Fatal(err)
				}
				return m
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
		return m
	}
	for _, want := range []session.EventType{session.EventCreated, session.EventReady} {
		if m := next(); m.Type != want {
			t.Errorf("got %+v, want %s", m, want)
		}
	}
	w.call(http.MethodPost, "/sessions/"+string(s.ID)+"/stop", adminToken, "")
	if m := next(); m.Type != session.EventStopped || m.By != "operator" {
		t.Errorf("got %+v, want it stopped by the operator", m)
	}
	w.call(http.MethodDelete, "/sessions/"+string(s.ID), adminToken, "")
	for lines.Scan() { // a blank line ends the previous event
		if lines.Text() != "" {
			t.Errorf("after the delete of the session: got %q, want the end of the stream", lines.Text())
		}
	}
}

// record is a session with content and changes that a test controls.
type record struct {
	httpapi.Sessions
	session.Session
	changed  chan struct{}
	failures int // number of the next reads that fail
}

func (r *record) Get(context.Context, session.ID) (session.Session, error) {
	if r.failures > 0 {
		r.failures--
		return session.Session{}, session.Errorf(session.CodeStoreUnavailable, "the database does not answer in time")
	}
	return r.Session, nil
}

func (r *record) Upgrade(ctx context.Context, id session.ID, req lifecycle.UpgradeRequest) (*lifecycle.Work, error) {
	return r.Sessions.Upgrade(ctx, id, req)
}

func (r *record) Listen(session.ID) (changed <-chan struct{}, stop func()) {
	return r.changed, func() {}
}

// add adds an event and notifies.
func (r *record) add(m session.Event) {
	r.Timeline = append(slices.Clip(r.Timeline), m)
	r.changed <- struct{}{}
	synctest.Wait()
}

// follow streams the events of the session to the holder of token, until the stream ends.
func (r *record) follow(t *testing.T, keys access.Keys, token string) (written *httptest.ResponseRecorder, over <-chan struct{}) {
	t.Helper()
	authority, err := access.New(access.Options{Keys: keys, AdminToken: adminToken})
	if err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Options{
		Sessions: r, Access: authority, Ready: func() error { return nil },
		Health: func(context.Context) httpapi.Health { return httpapi.Health{} }, Instances: func() []httpapi.Instance { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sessions/"+string(r.ID)+"/events", http.NoBody)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	written = httptest.NewRecorder()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		api.Handler().ServeHTTP(written, req)
	}()
	synctest.Wait()
	return written, gone
}

// Events with earlier times, after a clock was set back or from a process with a slower one, are streamed too.
func TestEventsWithEarlierTimesAreStreamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		r := &record{Session: session.Session{ID: session.NewID()}, changed: make(chan struct{})}
		r.Timeline = []session.Event{{At: now, Type: session.EventCreated, By: "operator"}, {At: now, Type: session.EventReady, By: "operator"}}
		written, over := r.follow(t, access.Keys{}, adminToken)
		r.add(session.Event{At: now.Add(-time.Hour), Type: session.EventStopped, By: "berth", Reason: "idle"})
		r.add(session.Event{At: now.Add(-time.Hour), Type: session.EventReady, By: "user"})
		var story []string
		for line := range strings.Lines(written.Body.String()) {
			if what, ok := strings.CutPrefix(line, "event: "); ok {
				story = append(story, strings.TrimSpace(what))
			}
		}
		want := []string{string(session.EventCreated), string(session.EventReady), string(session.EventStopped), string(session.EventReady)}
		if diff := cmp.Diff(want, story); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if ended(over) {
			t.Error("the stream has ended")
		}
	})
}

// If the store fails when a change is read, the event is delayed and not dropped.
func TestEventsAreStreamedAfterStoreFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &record{Session: session.Session{ID: session.NewID()}, changed: make(chan struct{})}
		written, over := r.follow(t, access.Keys{}, adminToken)
		r.failures = 2
		r.add(session.Event{At: time.Now(), Type: session.EventStopped, By: "operator"})
		<-time.After(5 * time.Second)
		synctest.Wait()
		if want := "event: " + string(session.EventStopped) + "\n"; strings.Count(written.Body.String(), want) != 1 {
			t.Errorf("5 s after the recovery of the store the stream has %q, want %q once", written.Body.String(), want)
		}
		if ended(over) {
			t.Error("the stream has ended")
		}
	})
}

// The stream of a token that expires ends soon after, that of the operator does not.
func TestExpiredTokenEndsEventStream(t *testing.T) {
	t.Parallel()
	keys, err := access.NewKeys([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		token := access.NewToken(32)
		r := &record{Session: session.Session{ID: session.NewID(), Token: session.Token{Digest: keys.Digest(token), ExpiresAt: time.Now().Add(time.Minute)}}}
		_, users := r.follow(t, keys, token.Reveal())
		written, operators := r.follow(t, keys, adminToken)
		<-time.After(59 * time.Second)
		synctest.Wait()
		if ended(users) {
			t.Error("the stream has ended before the token expired")
		}
		<-time.After(17 * time.Second)
		synctest.Wait()
		if !ended(users) {
			t.Error("the stream is still open 16 s after the token expired")
		}
		if ended(operators) {
			t.Error("the operator's stream has ended")
		}
		if got, want := strings.Count(written.Body.String(), ": alive"), 5; got != want {
			t.Errorf("the operator's stream had %d heartbeats in 76 s, want %d", got, want)
		}
	})
}
