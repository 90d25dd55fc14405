package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"berth/internal/access"
	"berth/internal/tlstest"
	"berth/internal/waittest"
)

// encrypted is a server with TLS and HTTP/2.
type encrypted struct {
	*Server
	client *tls.Config
	served chan error
	cancel context.CancelFunc
}

func serveEncrypted(t *testing.T, most int, handler http.HandlerFunc, change ...func(*Server)) *encrypted {
	t.Helper()
	a := tlstest.New(t)
	listener, err := Listen(t.Context(), "127.0.0.1:0", "BERTH_LISTEN")
	if err != nil {
		t.Fatal(err)
	}
	e := &encrypted{client: a.Client("berth.example"), served: make(chan error, 1)}
	e.Server = New(Options{
		Listener: listener, Handler: handler, Client: func(*http.Request) *access.Client { return &access.Client{} }, MaxConnections: most,
		TLS: a.Server(t, []string{"berth.example"}, "h2", "http/1.1"), Logger: slog.New(slog.DiscardHandler),
	})
	for _, f := range change {
		f(e.Server)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	e.cancel = cancel
	go func() { e.served <- e.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = e.Shutdown(ctx) // closes connections at once
		if err := <-e.served; err != nil {
			t.Error(err)
		}
	})
	return e
}

// transport returns a client with connections of its own.
func (e *encrypted) transport(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: e.client.Clone(), ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func (e *encrypted) request(t *testing.T, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+e.Addr().String()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// get makes a request that must be answered.
func (e *encrypted) get(t *testing.T, tr http.RoundTripper, path string) (status int, body string) {
	t.Helper()
	res, err := tr.RoundTrip(e.request(t, path))
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(text)
}

// frames is a client of HTTP/2 that sends any frame.
type frames struct {
	*http2.Framer
	t       *testing.T
	conn    *tls.Conn
	encoded bytes.Buffer
	encoder *hpack.Encoder
	next    uint32 // stream
}

// dial connects, and sends its settings.
func (e *encrypted) dial(t *testing.T, settings ...http2.Setting) *frames {
	t.Helper()
	config := e.client.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", e.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.NetConn().Close() })
	f := &frames{Framer: http2.NewFramer(conn, conn), t: t, conn: conn, next: 1}
	f.encoder = hpack.NewEncoder(&f.encoded)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return f
}

// ask begins a request and returns its stream. The fields override those of a usual one.
func (f *frames) ask(path string, fields ...string) (stream uint32, err error) {
	f.encoded.Reset()
	all := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "berth.example"}, {":path", path}}
	for i := 0; i < len(fields); i += 2 {
		replaced := false
		for j := range all {
			if all[j][0] == fields[i] {
				all[j][1], replaced = fields[i+1], true
			}
		}
		if !replaced {
			all = append(all, [2]string{fields[i], fields[i+1]})
		}
	}
	for _, field := range all {
		if field[1] != "" {
			_ = f.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
	}
	stream = f.next
	f.next += 2
	return stream, f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.encoded.Bytes(), EndStream: true, EndHeaders: true})
}

func (f *frames) mustAsk(path string, fields ...string) uint32 {
	f.t.Helper()
	stream, err := f.ask(path, fields...)
	if err != nil {
		f.t.Fatal(err)
	}
	return stream
}

// await reads until a frame fits, and acknowledges settings and pings on the way. It fails after ten seconds.
func (f *frames) await(what string, fits func(http2.Frame) bool) {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		if fits(frame) {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		}
	}
}

func (f *frames) status(stream uint32) (status string) {
	f.t.Helper()
	f.await("a response", func(frame http2.Frame) bool {
		headers, ok := frame.(*http2.MetaHeadersFrame)
		if ok && headers.StreamID == stream {
			status = headers.PseudoValue("status")
		}
		return status != ""
	})
	return status
}

func isReset(stream uint32) func(http2.Frame) bool {
	return func(frame http2.Frame) bool {
		_, ok := frame.(*http2.RSTStreamFrame)
		return ok && frame.Header().StreamID == stream
	}
}

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
	}, func(s *Server) { s.clients.timeout = 200 * time.Millisecond })
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
	const size = 200 << 10
	e := serveEncrypted(t, 10, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) },
		func(s *Server) { s.clients.timeout = 2 * time.Second })
	f := e.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	stream, got := f.mustAsk("/"), 0
	pause := time.NewTicker(20 * time.Millisecond) // five seconds in all
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
		if err := errors.Join(f.WriteWindowUpdate(stream, 800), f.WriteWindowUpdate(0, 800)); err != nil {
			t.Fatal(err)
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
	}, func(s *Server) { s.clients.timeout = 100 * time.Millisecond })
	time.AfterFunc(time.Second, func() { close(speak) })
	if status, body := e.get(t, e.transport(t), "/"); status != http.StatusOK || body != "an event" {
		t.Errorf("got %d %q", status, body)
	}
}

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
