package runtimetest_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"berth/internal/runtimetest"
	"berth/internal/session"
)

type response struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, s session.Spec, c session.Container, path string) response {
	t.Helper()
	got, err := try(t.Context(), s, c, http.MethodGet, path, "")
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return got
}

// try makes one request over a connection of its own.
func try(ctx context.Context, s session.Spec, c session.Container, method, path, body string) (response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	if s.Credential != "" {
		r.SetBasicAuth(s.Profile.Username, s.Credential.Reveal())
	}
	r.Header.Set("X-Test", "yes")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return response{answer.StatusCode, answer.Header, string(text)}, err
}

func TestServerRequiresItsCredentialAsOpenCodeDoes(t *testing.T) {
	t.Parallel()
	s, c := run(t, newFake(t), "a")
	token := func(text string) string {
		return "?auth_token=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(text)))
	}
	good := s.Profile.Username + ":" + s.Credential.Reveal()
	anonymous := s
	anonymous.Credential = ""
	cases := map[string]struct {
		spec   session.Spec
		path   string
		status int
	}{
		"Basic":                            {s, "/path", 200},
		"nothing":                          {anonymous, "/path", 401},
		"nothing on a page":                {anonymous, "/", 401},
		"nothing on a public path":         {anonymous, "/site.webmanifest", 200},
		"the query":                        {anonymous, "/path" + token(good), 200},
		"a bad query wins over good Basic": {s, "/path" + token("opencode:wrong"), 401},
	}
	for name, k := range cases {
		got := get(t, k.spec, c, k.path)
		if got.status != k.status {
			t.Errorf("%s: got %d, want %d", name, got.status, k.status)
		}
		if k.status == 401 && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: got WWW-Authenticate %q, want Basic", name, got.header.Get("WWW-Authenticate"))
		}
	}
}

func TestServerAnswersPathsAsOpenCodeDoes(t *testing.T) {
	t.Parallel()
	s, c := run(t, newFake(t), "a")
	for path, want := range map[string]string{
		"/global/health": "application/json", "/path": "application/json", "/session": "application/json",
		"/": "text/html;charset=UTF-8", "/no/such/path": "text/html;charset=UTF-8",
	} {
		if got := get(t, s, c, path); got.status != 200 || got.header.Get("Content-Type") != want {
			t.Errorf("%s: got %d with %q, want 200 with %q", path, got.status, got.header.Get("Content-Type"), want)
		}
	}
}

func TestServerEchoesARequest(t *testing.T) {
	t.Parallel()
	s, c := run(t, newFake(t), "a")
	answer, err := try(t.Context(), s, c, http.MethodPut, "/echo?x=1&y=%20", "some words")
	if err != nil {
		t.Fatal(err)
	}
	var got runtimetest.Echo
	if err := json.Unmarshal([]byte(answer.body), &got); err != nil {
		t.Fatalf("%v in %s", err, answer.body)
	}
	if got.Header.Get("X-Test") != "yes" {
		t.Errorf("got headers %v, want X-Test among them", got.Header)
	}
	got.Header = nil
	want := runtimetest.Echo{Method: "PUT", Host: c.Address, Path: "/echo", Query: "x=1&y=%20", Body: "some words", Bytes: 10}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("echo (-want +got):\n%s", diff)
	}
}

func TestServerSendsNothingUntilMessageIsFinished(t *testing.T) {
	t.Parallel()
	s, c := run(t, newFake(t), "a")
	begun := time.Now()
	got, err := try(t.Context(), s, c, http.MethodPost, "/session/ses_1/message?for=200ms", "hello")
	if err != nil || got.status != 200 || !strings.Contains(got.body, "ses_1") {
		t.Errorf("got %+v (%v), want 200 about ses_1", got, err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("answered after %s, want 200ms of silence", took)
	}
}

func TestServerStreamsEventsUntilItsContainerStops(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	fake.Behave("a", runtimetest.Behaviour{Heartbeat: 10 * time.Millisecond})
	s, c := run(t, fake, "a")
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.Address+"/event", nil)
	r.SetBasicAuth(s.Profile.Username, s.Credential.Reveal())
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("got %q, want an event stream", got)
	}
	lines := bufio.NewScanner(answer.Body)
	var seen []string
	for len(seen) < 3 && lines.Scan() {
		if lines.Text() != "" {
			seen = append(seen, lines.Text())
		}
	}
	beat := `data: {"type":"server.heartbeat","properties":{}}`
	if diff := cmp.Diff([]string{`data: {"type":"server.connected","properties":{}}`, beat, beat}, seen); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := fake.Stop(t.Context(), "a", time.Second); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // ends, because the server is gone
	}
}

func TestServerEchoesOverAWebSocketUntilItsContainerStops(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	s, c := run(t, fake, "a")
	login := base64.StdEncoding.EncodeToString([]byte(s.Profile.Username + ":" + s.Credential.Reveal()))
	header := http.Header{"Authorization": {"Basic " + login}, "Origin": {"https://elsewhere.example"}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	conn, _, err := websocket.Dial(t.Context(), "ws://"+c.Address+"/pty/pty_1/connect",
		&websocket.DialOptions{HTTPHeader: header, HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("ls\n")); err != nil {
		t.Fatal(err)
	}
	kind, text, err := conn.Read(t.Context())
	if err != nil || kind != websocket.MessageText || string(text) != "ls\n" {
		t.Errorf("got %s %q (%v), want the text back", kind, text, err)
	}
	if err := fake.Stop(t.Context(), "a", time.Second); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("got %v, want the end of the connection: its server is gone", err)
	}
}

func TestBehaviours(t *testing.T) {
	t.Parallel()
	probe := func(s session.Spec, c session.Container, within time.Duration) (response, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return try(ctx, s, c, http.MethodGet, "/global/health", "")
	}
	const short, long = 200 * time.Millisecond, 10 * time.Second
	fake := newFake(t)
	s, c := run(t, fake, "a")

	fake.Behave("a", runtimetest.Behaviour{Mute: true})
	if got, err := probe(s, c, short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("mute: got %+v (%v), want no answer", got, err)
	}
	fake.Behave("a", runtimetest.Behaviour{Status: 503})
	if got, err := probe(s, c, long); err != nil || got.status != 503 {
		t.Errorf("status: got %+v (%v), want 503", got, err)
	}
	fake.Behave("a", runtimetest.Behaviour{Page: true})
	if got, err := probe(s, c, long); err != nil || !strings.Contains(got.header.Get("Content-Type"), "html") {
		t.Errorf("page: got %+v (%v), want HTML", got, err)
	}
	fake.Behave("a", runtimetest.Behaviour{Unhealthy: true})
	if got, err := probe(s, c, long); err != nil || !strings.Contains(got.body, `"healthy":false`) {
		t.Errorf("unhealthy: got %+v (%v), want healthy false", got, err)
	}
	fake.Behave("a", runtimetest.Behaviour{Slow: time.Hour})
	if got, err := probe(s, c, short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: got %+v (%v), want no answer within %s", got, err, short)
	}

	fake.Behave("b", runtimetest.Behaviour{LateAttach: 2})
	s, c = run(t, fake, "b")
	for i := range 2 {
		if got, err := probe(s, c, short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("late attach, connection %d: got %+v (%v), want no answer", i+1, got, err)
		}
	}
	if got, err := probe(s, c, long); err != nil || got.status != 200 {
		t.Errorf("late attach, connection 3: got %+v (%v), want 200", got, err)
	}

	fake.Behave("", runtimetest.Behaviour{Closed: true})
	s, c = run(t, fake, "c")
	if _, err := probe(s, c, long); err == nil || c.State != session.StateRunning {
		t.Errorf("closed: got %v in state %q, want a refused connection to a container that runs", err, c.State)
	}
	fake.Behave("d", runtimetest.Behaviour{Exits: true, ExitCode: 137, OOM: true})
	if _, c = run(t, fake, "d"); c.State != session.StateStopped || c.ExitCode != 137 || !c.OOMKilled {
		t.Errorf("exits: got %+v, want it exited as out of memory", c)
	}
}
