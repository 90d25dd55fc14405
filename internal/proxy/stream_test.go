package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"berth/internal/session"
)

// eventStream sends an event for each text that comes, until the client leaves.
func eventStream(texts <-chan string, left chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/event" {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case text, ok := <-texts:
				if !ok {
					return
				}
				fmt.Fprintf(w, "data: %s\n\n", text)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				left <- struct{}{}
				return
			}
		}
	}
}

// openStream opens the session's event stream and reads its first event.
func openStream(t *testing.T, w *world, texts chan<- string) *bufio.Reader {
	t.Helper()
	res, err := w.client.Do(w.request(t, http.MethodGet, "/event", nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	events := bufio.NewReader(res.Body)
	texts <- "hello"
	if got, err := events.ReadString('\n'); err != nil || got != "data: hello\n" {
		t.Fatalf("first event: got %q, %v", got, err)
	}
	_, _ = events.ReadString('\n')
	return events
}

// ending reads until the stream ends and returns with what.
func ending(r io.Reader) <-chan error {
	ch := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, r)
		ch <- err
	}()
	return ch
}

func TestEventsArriveWhileTheServerHoldsTheStream(t *testing.T) {
	t.Parallel()
	texts, left := make(chan string), make(chan struct{}, 1)
	w := setup(t, eventStream(texts, left))
	events := openStream(t, w, texts) // would hang if anything were buffered
	for i := range 3 {
		texts <- fmt.Sprint(i)
		got, err := events.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); got != want || err != nil {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		_, _ = events.ReadString('\n')
	}
	close(texts)
	if err := within(t, "end of the stream", ending(events)); err != nil {
		t.Errorf("a stream that its server ended properly: got %v", err)
	}
}

func TestAnswersOfUnknownLengthArriveAtOnce(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
	})
	res, err := w.client.Do(w.request(t, http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != "first" {
		t.Errorf("got %q, %v", got, err)
	}
	close(more)
}

func TestClientThatLeavesIsPassedOnAtOnce(t *testing.T) {
	t.Parallel()
	began, left := make(chan struct{}), make(chan struct{})
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Go's server notices only then
		began <- struct{}{}
		<-r.Context().Done()
		close(left)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		res, err := w.client.Do(w.request(t, http.MethodPost, "/session/x/message", strings.NewReader("{}")).WithContext(ctx))
		if err == nil {
			res.Body.Close()
		}
	}()
	within(t, "request at the server", began)
	cancel()
	within(t, "server's request cancelled", left)
	eventually(t, "status 499 in the access log", func() bool { return strings.Contains(w.logs.String(), `"status":499`) })
	if logs := w.logs.String(); strings.Contains(logs, `"ERROR"`) || strings.Contains(logs, `"WARN"`) {
		t.Errorf("a client that leaves is nobody's fault:\n%s", logs)
	}
}

// A turn of an agent sends no byte until it is finished. Here it takes longer than any time-out that somebody may have
// set somewhere, the server's own write time-out included.
func TestSilentCallOf330SecondsPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const silence = 330 * time.Second
		upstream := newPipeListener()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(silence) // the bubble's clock
			_, _ = io.WriteString(w, "done")
		})}
		w := &world{table: NewTable(), logs: new(lockedBuffer)}
		w.keys, _ = session.NewKeys([]byte("a secret of more than sixteen bytes"))
		proxy, err := New(Options{
			Table: w.table, Keys: w.keys, Logger: discardLogger(),
			Transport: Transport{Dial: upstream.dial},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.table.Set(session.Route{
			ID: testID, Address: "10.0.0.2:4096", Username: testUser, Credential: testPass,
			TokenDigest: w.keys.Digest(testToken), Running: true,
		})
		entrance := newPipeListener()
		front := &http.Server{Handler: proxy, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
		done := make(chan struct{}, 2)
		for _, s := range []struct {
			*http.Server
			net.Listener
		}{{server, upstream}, {front, entrance}} {
			go func() { _ = s.Serve(s.Listener); done <- struct{}{} }()
		}
		client := &http.Client{Transport: &http.Transport{DialContext: entrance.dial}}

		r, _ := http.NewRequest(http.MethodPost, "http://berth.example/s/"+string(testID)+"/session/x/message", strings.NewReader("{}"))
		r.Header.Set("Authorization", "Bearer "+testToken.Reveal())
		started := time.Now()
		res, err := client.Do(r)
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(started), err)
		}
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != 200 || string(body) != "done" || err != nil {
			t.Errorf("got %d %q, %v; want the server's answer", res.StatusCode, body, err)
		}
		if took := time.Since(started); took < silence {
			t.Errorf("took %v, want at least %v", took, silence)
		}
		client.CloseIdleConnections()
		w.table.Close()
		_ = front.Close()
		_ = server.Close()
		<-done
		<-done
	})
}

// echo is a server's terminal: it sends back what it gets.
func echo(closed chan<- websocket.StatusCode) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != testUser || session.Secret(password) != testPass {
			http.Error(w, "no credential", http.StatusForbidden)
			return
		}
		if r.URL.RawQuery != "cursor=1" {
			http.Error(w, r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				closed <- websocket.CloseStatus(err)
				return
			}
			if string(data) == "bye" {
				_ = c.Close(4001, "shell exited")
				closed <- 4001
				return
			}
			if c.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	}
}

func dialTerminal(t *testing.T, w *world) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), w.front.URL+"/s/"+string(testID)+"/pty/p/connect?cursor=1&auth_token=x",
		&websocket.DialOptions{HTTPHeader: http.Header{
			"Authorization": {"Bearer " + testToken.Reveal()}, "Origin": {w.front.URL},
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	say(t, c, "ls\n")
	return c
}

func say(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(ctx); err != nil || string(got) != text {
		t.Fatalf("echo of %q: got %q, %v", text, got, err)
	}
}

func TestWebSocketEchoesAndItsEndIsPassedOn(t *testing.T) {
	t.Parallel()
	closed := make(chan websocket.StatusCode, 1)
	w := setup(t, echo(closed))

	c := dialTerminal(t, w)
	say(t, c, strings.Repeat("long line ", 3000))
	if err := c.Close(websocket.StatusGoingAway, "tab closed"); err != nil {
		t.Errorf("close: %v", err)
	}
	if got := within(t, "server's end", closed); got != websocket.StatusGoingAway {
		t.Errorf("the server saw close status %d, want the client's %d", got, websocket.StatusGoingAway)
	}

	c = dialTerminal(t, w)
	if err := c.Write(t.Context(), websocket.MessageText, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Read(t.Context())
	if got := websocket.CloseStatus(err); got != 4001 {
		t.Errorf("the client saw close status %d (%v), want the server's 4001", got, err)
	}
	eventually(t, "nothing in flight", func() bool { return w.proxy.InFlight() == 0 })
}

func TestWebSocketOfAClientThatVanishesEndsAtTheServer(t *testing.T) {
	t.Parallel()
	closed := make(chan websocket.StatusCode, 1)
	w := setup(t, echo(closed))
	_ = dialTerminal(t, w).CloseNow()
	within(t, "server's end", closed)
}

func TestUpgradeToAnythingElseIsAnOrdinaryRequest(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" || r.Header.Get("Connection") != "" {
			t.Errorf("the server was asked to upgrade to %q", r.Header.Get("Upgrade"))
		}
	})
	r := w.request(t, http.MethodGet, "/", nil)
	r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
	r.Header.Set("Upgrade", "h2c")
	if got := w.do(t, r); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
}

func TestUninvitedUpgradeIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	w.get(t, "/").mustBe(t, 502, session.CodeUpstream, "the server switched protocols by itself")
}

func TestActivityIsReportedAtTheBeginningAndOnceASecondAfter(t *testing.T) {
	t.Parallel()
	var touches atomic.Int64
	texts, left := make(chan string), make(chan struct{}, 1)
	w := setup(t, eventStream(texts, left), func(o *Options) {
		o.Touch = func(id session.ID) {
			if id != testID {
				t.Errorf("touched %q", id)
			}
			touches.Add(1)
		}
	})
	events := openStream(t, w, texts)
	for range 50 {
		texts <- "x"
		_, _ = events.ReadString('\n')
		_, _ = events.ReadString('\n')
	}
	if got := touches.Load(); got < 1 || got > 3 {
		t.Errorf("touches after the start and 50 quick events: got %d, want 1 (a slow machine may make it 3)", got)
	}
	for range 3 {
		before := touches.Load()
		w.get(t, "/")
		if got := touches.Load(); got <= before {
			t.Errorf("a request began and was not reported")
		}
	}

	e := &entry{}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Millisecond, false}, {touchEvery - 1, false}, {touchEvery, true}, {touchEvery + 1, false}, {3 * touchEvery, true}} {
		if got := e.due(start.Add(c.after)); got != c.want {
			t.Errorf("due after %v: got %v, want %v", c.after, got, c.want)
		}
	}
}

// pipeListener connects its two ends in memory, so that a synctest bubble sees all waiting.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1} }
