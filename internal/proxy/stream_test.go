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
	"time"

	"berth/internal/session"

	"berth/internal/waittest"
)

// eventStream sends an event for each text from the channel, until the client disconnects.
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
func openStream(t *testing.T, w *fixture, texts chan<- string) *bufio.Reader {
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

// ending reads until the stream ends and returns the error.
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
	events := openStream(t, w, texts) // would block if anything were buffered
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
		t.Errorf("a stream that its server ended: got %v", err)
	}
}

func TestResponsesOfUnknownLengthAreFlushedAtOnce(t *testing.T) {
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

func TestClientDisconnectReachesServerAtOnce(t *testing.T) {
	t.Parallel()
	began, left := make(chan struct{}), make(chan struct{})
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Go's server notices a disconnect only then
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
	waittest.True(t, "status 499 in the access log", func() bool { return strings.Contains(w.logs.String(), `"status":499`) })
	if logs := w.logs.String(); strings.Contains(logs, `"ERROR"`) || strings.Contains(logs, `"WARN"`) {
		t.Errorf("a client that closes its request is not an error:\n%s", logs)
	}
}

// An agent's turn sends no byte until it is finished. Here it, and the request, take longer than the read and write timeouts of
// the server.
func TestActivityIsReportedAtStartAndOnceASecond(t *testing.T) {
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
			t.Errorf("a request started and was not reported")
		}
	}

	e := &use{}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Millisecond, false}, {touchEvery - 1, false}, {touchEvery, true}, {touchEvery + 1, false}, {3 * touchEvery, true}} {
		if got := e.touchDue(start.Add(c.after)); got != c.want {
			t.Errorf("due after %v: got %v, want %v", c.after, got, c.want)
		}
	}
}

// pipeListener connects its two ends in memory, so that all waiting is durable in a synctest bubble.
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
