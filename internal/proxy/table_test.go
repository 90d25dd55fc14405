package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"berth/internal/session"

	"berth/internal/waittest"
)

func TestTableReturnsLatestRoute(t *testing.T) {
	t.Parallel()
	table := NewTable()
	if _, ok := table.Lookup("ses-a"); ok {
		t.Error("an empty table has a session")
	}
	table.Set(session.Route{ID: "ses-a", Address: "10.0.0.2:1"})
	table.Set(session.Route{ID: "ses-a", Address: "10.0.0.2:2"})
	if got, ok := table.Lookup("ses-a"); !ok || got.Address != "10.0.0.2:2" {
		t.Errorf("got %+v, %v; want the later route", got, ok)
	}
	table.Remove("ses-a")
	table.Remove("ses-a")
	if _, ok := table.Lookup("ses-a"); ok {
		t.Error("a removed session is still known")
	}
}

// Each change ends, or does not end, an event stream, a terminal, a silent call and a stalled upload that are open.
func TestRouteChangeEndsRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*fixture)
		status int // of the silent call; 0: it continues
		code   session.Code
	}{
		"nothing":     {func(w *fixture) { w.table.Set(w.route()) }, 0, ""},
		"new expiry":  {func(w *fixture) { r := w.route(); r.Token.ExpiresAt = time.Now().Add(time.Hour); w.table.Set(r) }, 0, ""},
		"new profile": {func(w *fixture) { r := w.route(); r.Profile = nil; w.table.Set(r) }, 0, ""},
		"other session": {func(w *fixture) {
			r := w.route()
			r.ID = "ses-two"
			w.table.Set(r)
			w.table.Remove("ses-two")
		}, 0, ""},
		"rotated":              {func(w *fixture) { r := w.route(); r.Token.Digest = w.keys.Digest("new"); w.table.Set(r) }, 401, session.CodeUnauthorized},
		"token removed":        {func(w *fixture) { r := w.route(); r.Token.Digest = ""; w.table.Set(r) }, 401, session.CodeUnauthorized},
		"rotated with a grace": {func(w *fixture) { w.table.Set(w.rotated(time.Minute)) }, 0, ""},
		"grace ended early": {func(w *fixture) {
			w.table.Set(w.rotated(time.Minute))
			r := w.rotated(0)
			r.Token.PreviousDigest = ""
			w.table.Set(r)
		}, 401, session.CodeUnauthorized},
		"grace at its end": {func(w *fixture) { w.table.Set(w.rotated(50 * time.Millisecond)) }, 401, session.CodeUnauthorized},
		"expired": {func(w *fixture) {
			r := w.route()
			r.Token.ExpiresAt = time.Now().Add(50 * time.Millisecond)
			w.table.Set(r)
		}, 401, session.CodeUnauthorized},
		"stopped":        {func(w *fixture) { r := w.route(); r.Running = false; w.table.Set(r) }, 503, session.CodeNotRunning},
		"moved":          {func(w *fixture) { r := w.route(); r.Address = "127.0.0.1:1"; w.table.Set(r) }, 502, session.CodeUpstream},
		"new credential": {func(w *fixture) { r := w.route(); r.Credential = "other"; w.table.Set(r) }, 502, session.CodeUpstream},
		"removed":        {func(w *fixture) { w.table.Remove(testID) }, 404, session.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			texts, left, closed := make(chan string), make(chan struct{}, 1), make(chan websocket.StatusCode, 1)
			began := make(chan struct{}, 2)
			w := setup(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasPrefix(r.URL.Path, "/pty"):
					echo(closed)(w, r)
				case r.URL.Path == "/silent", r.URL.Path == "/upload":
					began <- struct{}{}
					_, _ = io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
				default:
					eventStream(texts, left)(w, r)
				}
			})
			events := openStream(t, w, texts)
			terminal := dialTerminal(t, w)
			silent, upload := make(chan answer, 1), make(chan answer, 1)
			stalled, feed := io.Pipe()
			defer func() { _ = feed.Close() }()
			for path, to := range map[string]chan answer{"/silent": silent, "/upload": upload} {
				r := w.request(t, http.MethodPost, path, nil)
				if path == "/upload" {
					r = w.request(t, http.MethodPost, path, stalled)
				}
				go func() {
					res, err := w.client.Do(r)
					if err != nil {
						to <- answer{body: err.Error()}
						return
					}
					defer res.Body.Close()
					body, _ := io.ReadAll(res.Body)
					to <- answer{res.StatusCode, res.Header, string(body)}
				}()
				within(t, path+" at the server", began)
			}

			c.change(w)

			if c.status == 0 {
				texts <- "still here"
				if got, err := events.ReadString('\n'); err != nil || got != "data: still here\n" {
					t.Errorf("event stream: got %q, %v", got, err)
				}
				say(t, terminal, "still here")
				select {
				case got := <-silent:
					t.Errorf("silent call: got %d %s", got.status, got.body)
				default:
				}
				return
			}
			if err := within(t, "end of the event stream", ending(events)); err == nil {
				t.Error("the event stream ended as if it were complete")
			}
			within(t, "end of the stream at its server", left)
			within(t, "end of the terminal at its server", closed)
			if _, _, err := terminal.Read(t.Context()); err == nil {
				t.Error("the terminal is still open")
			}
			within(t, "end of the silent call", silent).mustBe(t, c.status, c.code, "silent call")
			within(t, "end of the stalled upload", upload).mustBe(t, c.status, c.code, "stalled upload")
			waittest.True(t, "nothing in flight", func() bool { return w.proxy.InFlight() == 0 })
		})
	}
}

func TestNonReadingClientCannotKeepRevokedStreamOpen(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /s/ses-one/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+testToken.Reveal()+"\r\n\r\n")
	waittest.True(t, "stream open", func() bool { return w.proxy.InFlight() == 1 })
	w.table.Remove(testID)
	waittest.True(t, "stream ended", func() bool { return w.proxy.InFlight() == 0 })
}

// connections records the connections that a server has accepted, and the paths requested on each.
type connections struct {
	mu    sync.Mutex
	paths map[string]map[string]bool // client address → first path segments seen
}

func (c *connections) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paths == nil {
		c.paths = map[string]map[string]bool{}
	}
	if c.paths[r.RemoteAddr] == nil {
		c.paths[r.RemoteAddr] = map[string]bool{}
	}
	c.paths[r.RemoteAddr][r.URL.Path] = true
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	var seen connections
	w := setup(t, seen.ServeHTTP)
	for range 1000 {
		if got := w.get(t, "/"); got.status != 200 {
			t.Fatalf("got %d", got.status)
		}
	}
	if got := len(seen.paths); got != 1 {
		t.Errorf("1000 requests one after the other: got %d connections to the server, want 1", got)
	}
}

func TestTwoSessionsNeverShareAConnection(t *testing.T) {
	t.Parallel()
	var seen connections
	w := setup(t, seen.ServeHTTP)
	two := w.route() // the same address, as when the engine assigns a port again
	two.ID = "ses-two"
	w.table.Set(two)
	ask := func(id, path string) {
		r := w.request(t, http.MethodGet, "/", nil)
		r.URL.Path = "/s/" + id + path
		if got := w.do(t, r); got.status != 200 {
			t.Fatalf("%s: got %d", id, got.status)
		}
	}
	for range 20 {
		ask("ses-one", "/one")
		ask("ses-two", "/two")
	}
	w.table.Remove("ses-one")
	w.table.Set(w.route())
	ask("ses-one", "/one-again")

	if got := len(seen.paths); got != 3 {
		t.Errorf("got %d connections, want 3: one for each session, and one for the session that was added again", got)
	}
	for address, paths := range seen.paths {
		if len(paths) != 1 {
			t.Errorf("connection %s served %v", address, paths)
		}
	}
}

func TestIdleConnectionsCloseWithTheirServer(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fixture){
		"removed": func(w *fixture) { w.table.Remove(testID) },
		"stopped": func(w *fixture) { r := w.route(); r.Running = false; w.table.Set(r) },
		"moved":   func(w *fixture) { r := w.route(); r.Address = "127.0.0.1:1"; w.table.Set(r) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, func(http.ResponseWriter, *http.Request) {})
			w.get(t, "/")
			if got := w.proxy.Load().Connections; got != 1 {
				t.Fatalf("after a request: got %d connections, want one kept", got)
			}
			change(w)
			waittest.True(t, "idle connection closed", func() bool { return w.proxy.Load().Connections == 0 })
		})
	}
}

func TestStreamLimitLeavesRoomForRequests(t *testing.T) {
	t.Parallel()
	texts, left := make(chan string), make(chan struct{}, 10)
	hold := make(chan struct{})
	began := make(chan struct{}, 1)
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			began <- struct{}{}
			<-hold
		}
		eventStream(texts, left)(w, r)
	}, func(o *Options) { o.Transport = Transport{MaxConnections: 1, ConnectTimeout: 500 * time.Millisecond} })
	openStream(t, w, texts)
	if got := w.get(t, "/"); got.status != 200 {
		t.Errorf("a request beside the maximum of streams: got %d", got.status)
	}
	got := w.get(t, "/event")
	got.mustBe(t, 429, session.CodeLimit, "one stream too many")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r, first := w.request(t, http.MethodGet, "/hold", nil), make(chan error, 1)
	go func() {
		res, err := w.client.Do(r)
		if err == nil {
			res.Body.Close()
		}
		first <- err
	}()
	within(t, "held request", began)
	refused, second := w.request(t, http.MethodGet, "/", nil), make(chan answer, 1)
	go func() { second <- w.do(t, refused) }()
	waittest.True(t, "the second waits", func() bool { return w.proxy.Load().Waiting == 1 })
	within(t, "answer to the second", second).mustBe(t, 429, session.CodeLimit, "no place came free in time")
	if got := w.proxy.Load(); got.Waiting != 0 || got.Requests != 1 || got.Streams != 1 {
		t.Errorf("after it was refused: got %+v, want one request, one stream and no waiting request", got)
	}
	close(hold)
	if err := within(t, "end of the held request", first); err != nil {
		t.Error(err)
	}
	if got := w.get(t, "/"); got.status != 200 {
		t.Errorf("after the slot was released: got %d", got.status)
	}
}
