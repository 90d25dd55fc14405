package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestAmbiguousRequestsOverHTTP2AreRefused(t *testing.T) {
	t.Parallel()
	e := serveEncrypted(t, 10, func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	f := e.dial(t)
	for _, c := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"usual", nil, "200"},
		{"with a Host of the same name", []string{"host", "berth.example"}, "200"},
		{"Host only", []string{":authority", "", "host", "berth.example"}, "200"},
		{"another Host", []string{"host", "other.example"}, "400"},
		{"a second Host", []string{":authority", "", "host", "berth.example", "host", "other.example"}, "400"},
		{"no host", []string{":authority", ""}, "400"},
		{"a path in the host", []string{":authority", "berth.example/x"}, "400"},
		{"a space in the host", []string{":authority", "berth.example x"}, "400"},
		{"an address as path", []string{":path", "https://other.example/"}, "400"},
		{"plain HTTP, which the connection is not", []string{":scheme", "http"}, "200"},
	} {
		if c.name == "a second Host" { // ask replaces a field
			f.encoded.Reset()
			for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {"host", "berth.example"}, {"host", "other.example"}} {
				_ = f.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
			}
			stream := f.next
			f.next += 2
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.encoded.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
			if got := f.status(stream); got != c.want {
				t.Errorf("%s: got %s, want %s", c.name, got, c.want)
			}
			continue
		}
		if got := f.status(f.mustAsk("/", c.fields...)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// A client decides for each stream how much of its response it takes, while the connection works.
func TestStreamThatIsNotReadIsReset(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 10)
	e := serveEncrypted(t, 10, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			return
		}
		size := 1 << 20
		if r.URL.Path == "/small" {
			size = 100 // which net/http buffers until the handler has returned
		}
		_, err := w.Write(make([]byte, size))
		ended <- err
	}, func(s *Server) { s.stall = 200 * time.Millisecond })
	f := e.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for _, path := range []string{"/large", "/small"} {
		f.await(path+" is reset", isReset(f.mustAsk(path)))
		if err := <-ended; (err == nil) != (path == "/small") {
			t.Errorf("%s: the handler's write ended with %v", path, err)
		}
	}
	if got := f.status(f.mustAsk("/quick")); got != "200" {
		t.Errorf("another request on the connection: got %s", got)
	}
}

func TestStreamThatIsReadSlowlyIsKept(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	e := serveEncrypted(t, 10, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) },
		func(s *Server) { s.stall = 3 * time.Second })
	f := e.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	stream, got := f.mustAsk("/"), 0
	pause := time.NewTicker(50 * time.Millisecond) // 13 seconds in all, a fifth of one for a step
	defer pause.Stop()
	for got < size {
		f.await("a part of the response", func(frame http2.Frame) bool {
			data, ok := frame.(*http2.DataFrame)
			if ok {
				got += len(data.Data())
			}
			return ok
		})
		<-pause.C
		if err := errors.Join(f.WriteWindowUpdate(stream, writeStep/4), f.WriteWindowUpdate(0, writeStep/4)); err != nil {
			t.Errorf("after %d bytes: %v", got, err)
			f.await("the rest of the response", func(http2.Frame) bool { return false })
		}
	}
}

// A silent stream, such as one of events, is not written to, so its client need not read.
func TestSilentStreamIsKept(t *testing.T) {
	t.Parallel()
	speak := make(chan struct{})
	e := serveEncrypted(t, 10, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-speak
		_, _ = io.WriteString(w, "an event")
	}, func(s *Server) { s.stall = 100 * time.Millisecond })
	time.AfterFunc(time.Second, func() { close(speak) })
	if status, body := e.get(t, e.transport(t), "/"); status != http.StatusOK || body != "an event" {
		t.Errorf("got %d %q", status, body)
	}
}

// A connection is not closed as long as one of its streams holds it.
func TestConnectionIsHeldByAnyOfItsStreams(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	began := make(chan struct{}, 10)
	e := serveEncrypted(t, 2, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			HoldConnection(r.Context())
			began <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "done")
	})
	tr := e.transport(t)
	got := make(chan string, 1)
	go func() {
		res, err := tr.RoundTrip(e.request(t, "/held"))
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		got <- fmt.Sprint(string(text), err)
	}()
	<-began
	e.get(t, tr, "/") // another stream, whose end must not release the connection
	for range 10 {
		conn, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		e.get(t, e.transport(t), "/")
	}
	close(release)
	if text := <-got; text != "done<nil>" {
		t.Errorf("the held stream: got %s", text)
	}
}

// Closing the connection of a client that reads nothing must not wait for that client.
func TestConnectionWithTLSIsClosedAtOnce(t *testing.T) {
	t.Parallel()
	const most = 3
	began := make(chan struct{}, 10)
	e := serveEncrypted(t, most, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			began <- struct{}{}
			_, _ = w.Write(make([]byte, 32<<20))
		}
	})
	for range most {
		config := e.client.Clone()
		config.NextProtos = []string{"http/1.1"}
		conn, err := tls.Dial("tcp", e.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.NetConn().Close()
		fmt.Fprint(conn, "GET /large HTTP/1.1\r\nHost: berth.example\r\n\r\n")
		<-began
	}
	before := time.Now()
	for range 2 * most {
		e.get(t, e.transport(t), "/")
	}
	if took := time.Since(before); took > 4*time.Second { // a close_notify would be tried for five seconds, each
		t.Errorf("%d requests beside clients that read nothing took %v", 2*most, took)
	}
}

func TestShutdownEndsHTTP2Gracefully(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}), make(chan struct{})
	e := serveEncrypted(t, 10, func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	f := e.dial(t)
	stream := f.mustAsk("/")
	<-began
	e.cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.Shutdown(context.WithoutCancel(t.Context())) }()
	<-e.listenerClosed
	close(release)
	if got := f.status(stream); got != "200" {
		t.Errorf("the request in flight: got %s", got)
	}
	f.await("GOAWAY", func(frame http2.Frame) bool { _, ok := frame.(*http2.GoAwayFrame); return ok })
	if err := <-ended; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}
