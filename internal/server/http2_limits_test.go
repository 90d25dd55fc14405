package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"berth/internal/waittest"
)

// The body of one stream is limited in time, that of another stream of the connection is not.
func TestBodyTimeoutConcernsOneStream(t *testing.T) {
	t.Parallel()
	e := serveEncrypted(t, 10, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/short" {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestTimeout)
			return
		}
		_, _ = w.Write(text)
	})
	tr := e.transport(t)
	slow, send := io.Pipe()
	long := e.request(t, "/long")
	long.Method, long.Body = http.MethodPost, slow
	answered := make(chan string, 1)
	go func() {
		res, err := tr.RoundTrip(long)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		answered <- string(text)
	}()
	_, _ = io.WriteString(send, "first ")
	never, open := io.Pipe()
	defer func() { _ = open.Close() }()
	short := e.request(t, "/short")
	short.Method, short.Body = http.MethodPost, never
	res, err := tr.RoundTrip(short)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("the short one: got %s", res.Status)
	}
	_, _ = io.WriteString(send, "last")
	_ = send.Close()
	if got := <-answered; got != "first last" {
		t.Errorf("the long one: got %q", got)
	}
}

// Streams that a client resets at once must cost no more than requests, and not delay other clients.
func TestRapidResetsDoNotHarmOthers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	running, most := 0, 0
	e := serveEncrypted(t, 10, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			return
		}
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-r.Context().Done()
		mu.Lock()
		running--
		mu.Unlock()
	})
	other := e.transport(t)
	e.get(t, other, "/other")
	sent := 0
	for sent < 10_000 {
		f := e.dial(t)
		go func() { _, _ = io.Copy(io.Discard, f.conn) }()
		for ; sent < 10_000; sent++ {
			stream, err := f.ask("/reset")
			if err == nil {
				err = f.WriteRSTStream(stream, http2.ErrCodeCancel)
			}
			if err != nil { // the server has ended the connection
				break
			}
			if sent%1000 == 0 {
				if status, _ := e.get(t, other, "/other"); status != http.StatusOK {
					t.Errorf("another client after %d resets: got %d", sent, status)
				}
			}
		}
	}
	if status, _ := e.get(t, other, "/other"); status != http.StatusOK {
		t.Errorf("another client: got %d", status)
	}
	mu.Lock()
	defer mu.Unlock()
	if most > 10*http2Limits.MaxConcurrentStreams {
		t.Errorf("%d handlers at once", most)
	}
}

func TestRequestsOfUnauthenticatedClientsAreBoundedOverHTTP2(t *testing.T) {
	t.Parallel()
	const most = 20
	began := make(chan struct{}, 1000)
	e := serveEncrypted(t, most, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			return
		}
		began <- struct{}{}
		<-r.Context().Done()
	})
	greedy := e.dial(t)
	for range most {
		greedy.mustAsk("/wait")
		<-began
	}
	refused := greedy.mustAsk("/wait")
	greedy.await("one more is refused", isReset(refused))
	if status, _ := e.get(t, e.transport(t), "/other"); status != http.StatusOK {
		t.Errorf("another client: got %d", status)
	}
	_ = greedy.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, greedy.conn); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection with most requests: got %v, want it closed", err)
	}
	waittest.True(t, "the requests have ended", func() bool { return e.connections.others.Load() == 0 })
}

// A client may leave a header unfinished for as long as it likes. A few may be large, and that of a client that has been admitted.
func TestLargeUnfinishedHeadersAreBounded(t *testing.T) {
	t.Parallel()
	finished := make(chan struct{})
	e := serveEncrypted(t, 4*largeHeaders, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/admitted" {
			HoldConnection(r.Context())
			<-finished
		}
	})
	defer close(finished)
	begin := func(f *frames) error { // 200 KB of a header
		f.encoded.Reset()
		_ = f.encoder.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.next, BlockFragment: f.encoded.Bytes()})
		for range 15 {
			f.encoded.Reset()
			_ = f.encoder.WriteField(hpack.HeaderField{Name: "n", Value: strings.Repeat("v", 16000), Sensitive: true})
			err = errors.Join(err, f.WriteContinuation(f.next, false, f.encoded.Bytes()))
		}
		return err
	}
	admitted := e.dial(t)
	admitted.mustAsk("/admitted")
	admitted.await("an acknowledgement", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	var open []*frames
	for range largeHeaders {
		f := e.dial(t)
		if err := begin(f); err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	waittest.Until(t, "the server has received the headers", func() error {
		if n := e.clients.headers.large.Load(); n != largeHeaders {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	closed := e.dial(t)
	_ = begin(closed)
	_ = closed.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, closed.conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("one header too many is received")
	}
	if err := begin(admitted); err != nil {
		t.Errorf("the connection of an admitted request: %v", err)
	}
	if status, _ := e.get(t, e.transport(t), "/"); status != http.StatusOK {
		t.Errorf("another client got %d", status)
	}
	_ = open[0].conn.NetConn().Close()
	waittest.Until(t, "the place of a connection that has ended is free", func() error {
		if n := e.clients.headers.large.Load(); n != largeHeaders-1 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}
