package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"berth/internal/session"
)

// chunked hides the length of a body.
type chunked struct{ io.Reader }

// endless has no end and counts the bytes that were read.
type endless struct{ taken int }

func (e *endless) Read(p []byte) (int, error) {
	e.taken += len(p)
	return len(p), nil
}

func TestOversizedBodyWithLengthIsRefusedUnread(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") },
		func(o *Options) { o.MaxBody = 1000 })
	body := new(endless)
	r := w.request(t, http.MethodPost, "/", body)
	r.ContentLength = 1 << 40
	r.Header.Set("Expect", "100-continue") // the body is sent only after 100 Continue
	w.client.Transport.(*http.Transport).ExpectContinueTimeout = 1 << 40
	w.do(t, r).mustBe(t, 413, session.CodeTooLarge, "the length is over the limit")
	if body.taken != 0 {
		t.Errorf("%d bytes of the body were read, want none", body.taken)
	}
}

func TestOversizedChunkedBodyIsCutOff(t *testing.T) {
	t.Parallel()
	fate := make(chan error, 1)
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		fate <- err
	}, func(o *Options) { o.MaxBody = 100_000 })
	got := w.do(t, w.request(t, http.MethodPost, "/", chunked{bytes.NewReader(make([]byte, 100_001))}))
	got.mustBe(t, 413, session.CodeTooLarge, "one byte over the limit")
	if err := within(t, "end of the body at the server", fate); err == nil {
		t.Error("the server got a body that looks complete")
	}
}

func TestBodyUpToTheLimitIsForwardedUnchanged(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // incomplete if the request is retried on another connection: the response shows it
		_, _ = w.Write(body)
	}, func(o *Options) { o.MaxBody = 100_000 })
	for _, size := range []int{0, 1, replayable - 1, replayable, replayable + 1, 100_000} {
		want := strings.Repeat("x", size-min(size, 1)) + strings.Repeat("y", min(size, 1))
		for name, body := range map[string]io.Reader{"known": strings.NewReader(want), "chunked": chunked{strings.NewReader(want)}} {
			if got := w.do(t, w.request(t, http.MethodPut, "/", body)); got.status != 200 || got.body != want {
				t.Errorf("%d bytes, length %s: got %d and %d bytes back", size, name, got.status, len(got.body))
			}
		}
	}
}

// net/http closes a request's body when its response starts, which may be before the transport has read its EOF.
func TestReadAfterEndOfBodyReturnsEOF(t *testing.T) {
	t.Parallel()
	body := &clientBody{ReadCloser: &closedAtEnd{left: "all of it"}}
	if all, err := io.ReadAll(body); string(all) != "all of it" || err != nil {
		t.Fatalf("got %q, %v", all, err)
	}
	if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read after the end: got %d bytes, %v; want its end", n, err)
	}
	if err := body.err(); err != nil {
		t.Errorf("got the fault %v, want none", err)
	}
}

// closedAtEnd is a body that is closed with its last byte.
type closedAtEnd struct{ left string }

func (c *closedAtEnd) Read(p []byte) (int, error) {
	if c.left == "" {
		return 0, http.ErrBodyReadAfterClose
	}
	n := copy(p, c.left)
	if c.left = c.left[n:]; c.left == "" {
		return n, io.EOF
	}
	return n, nil
}

func (*closedAtEnd) Close() error { return nil }

func TestBodiesAreStreamed(t *testing.T) {
	t.Parallel()
	first := make(chan string, 1)
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, buf)
		first <- string(buf)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	body, feed := io.Pipe()
	done := make(chan error, 1)
	r := w.request(t, http.MethodPost, "/", body)
	go func() {
		res, err := w.client.Do(r)
		if err == nil {
			res.Body.Close()
		}
		done <- err
	}()
	_, _ = io.WriteString(feed, "first")
	if got := within(t, "first bytes at the server while more are to come", first); got != "first" {
		t.Errorf("got %q", got)
	}
	_ = feed.Close()
	if err := within(t, "answer", done); err != nil {
		t.Error(err)
	}
}

func TestMalformedBodyIs400(t *testing.T) {
	t.Parallel()
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /s/ses-one/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+testToken.Reveal()+
		"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnot a length\r\n")
	status := make([]byte, len("HTTP/1.1 400"))
	if _, err := io.ReadFull(conn, status); err != nil || string(status) != "HTTP/1.1 400" {
		t.Errorf("got %q, %v; want 400", status, err)
	}
	if logs := w.logs.String(); strings.Contains(logs, `"WARN"`) || strings.Contains(logs, `"ERROR"`) {
		t.Errorf("logged as the server's:\n%s", logs)
	}
}

// A pooled connection that was closed before anything was written to it must not fail a request with a body: the transport
// gets the body again, and must get all of it.
func TestBodyCanBeReplayedUpToReplayableBytes(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 100)
	body := &clientBody{ReadCloser: io.NopCloser(strings.NewReader(text))}
	if _, err := io.ReadFull(body, make([]byte, 333)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := body.again()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(again, make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := body.again()
	if got, err := io.ReadAll(again); string(got) != text || err != nil {
		t.Errorf("third read: got %d bytes, %v; want all %d", len(got), err, len(text))
	}

	long := &clientBody{ReadCloser: io.NopCloser(io.LimitReader(new(endless), replayable+1))}
	_, _ = io.Copy(io.Discard, long)
	if _, err := long.again(); !errors.Is(err, errBodyNotReplayable) {
		t.Errorf("after more than is kept: got %v, want errBodyGone", err)
	}
}

func TestRequestIsRetriedOnClosedConnectionOnlyIfSafe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, body string
		status       int
		asked        int32 // number of requests at the server, including the first one
	}{
		"GET":                {"GET", "", 200, 3},
		"HEAD":               {"HEAD", "", 200, 3},
		"POST":               {"POST", "prompt", 502, 2},
		"POST without body":  {"POST", "", 502, 2},
		"DELETE":             {"DELETE", "", 502, 2},
		"PUT with long body": {"PUT", strings.Repeat("x", 2*replayable), 502, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if asked.Add(1) == 2 {
					panic(http.ErrAbortHandler) // closes the connection without a response
				}
			})
			if got := w.get(t, "/"); got.status != 200 {
				t.Fatalf("first request: got %d", got.status)
			}
			r := w.request(t, c.method, "/", strings.NewReader(c.body))
			r.Header.Set("Idempotency-Key", "k") // the server does not support it
			if got := w.do(t, r); got.status != c.status || asked.Load() != c.asked {
				t.Errorf("got %d and the server asked %d times, want %d and %d", got.status, asked.Load(), c.status, c.asked)
			}
		})
	}
}

func TestUnwrittenRequestIsRetriedWithItsBody(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	var dialled atomic.Int32
	w := setup(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, func(o *Options) {
		o.Transport.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if dialled.Add(1) == 1 {
				conn = &failingConn{Conn: conn, broken: &broken}
			}
			return conn, err
		}
	})
	if got := w.get(t, "/"); got.status != 200 {
		t.Fatalf("first request: got %d", got.status)
	}
	broken.Store(true)
	if got := w.do(t, w.request(t, "POST", "/", strings.NewReader("prompt"))); got.status != 200 || got.body != "prompt" {
		t.Errorf("got %d %q, want the body back over a second connection", got.status, got.body)
	}
	if got := dialled.Load(); got != 2 {
		t.Errorf("got %d connections, want 2", got)
	}
}

// failingConn fails to write once it is broken.
type failingConn struct {
	net.Conn
	broken *atomic.Bool
}

func (c *failingConn) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(p)
}
