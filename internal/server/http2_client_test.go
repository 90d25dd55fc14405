package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"berth/internal/access"
	"berth/internal/tlstest"
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
		case *http2.GoAwayFrame:
			f.t.Logf("the server ends the connection: %v %q", frame.ErrCode, frame.DebugData())
		case *http2.RSTStreamFrame:
			f.t.Logf("the server resets stream %d: %v", frame.StreamID, frame.ErrCode)
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
