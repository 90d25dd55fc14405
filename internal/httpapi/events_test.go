package httpapi_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/httpapi"
	"berth/internal/session"
)

// What happened to a session, on whose wish and why.
func TestEventsTellTheStoryOfASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, "{}"))
	path := "/sessions/" + string(made.ID)
	w.call(http.MethodPost, path+"/stop", adminToken, "")
	w.call(http.MethodPost, path+"/start", adminToken, "")
	rotated := decode[httpapi.NewToken](t, w.call(http.MethodPost, path+"/auth/rotate", made.Token, ""))
	w.call(http.MethodPost, path+"/restart", adminToken, "")

	got := decode[httpapi.Events](t, w.call(http.MethodGet, path+"/events", rotated.Token, ""))
	var story []string
	for i, m := range got.Events {
		story = append(story, string(m.What)+" by "+m.By)
		if i > 0 && m.At.Before(got.Events[i-1].At) {
			t.Errorf("%s happened before what comes before it", m.What)
		}
	}
	want := []string{
		"created by operator", "ready by operator", "stopped by operator", "ready by operator", "rotated by user", "restarted by operator",
	}
	if diff := cmp.Diff(want, story); diff != "" {
		t.Errorf("the story (-want +got):\n%s", diff)
	}
}

func TestEventsAreStreamedAsTheyHappen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, token := w.Make(session.Request{})
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
	next := func() (m session.Milestone) {
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
	for _, want := range []session.Happening{session.Created, session.Ready} {
		if m := next(); m.What != want {
			t.Errorf("got %+v, want %s", m, want)
		}
	}
	w.call(http.MethodPost, "/sessions/"+string(s.ID)+"/stop", adminToken, "")
	if m := next(); m.What != session.Ended || m.By != "operator" {
		t.Errorf("got %+v, want it stopped by the operator", m)
	}
	w.call(http.MethodDelete, "/sessions/"+string(s.ID), adminToken, "")
	for lines.Scan() { // a blank line ends the event before
		if lines.Text() != "" {
			t.Errorf("after the session is gone: got %q, want the end of the stream", lines.Text())
		}
	}
}
