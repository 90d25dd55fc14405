package guard

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"berth/internal/pki"
	"berth/internal/waittest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const timeout = 10 * time.Second

// fakeEngine is an HTTP server on a unix socket, scripted by its handler; it counts the connections made to it.
type fakeEngine struct {
	socket string
	server *http.Server

	mu          sync.Mutex
	connections int
}

func startEngine(t *testing.T, handler http.Handler) *fakeEngine {
	t.Helper()
	e := &fakeEngine{socket: filepath.Join(t.TempDir(), "engine.sock")}
	listener, err := net.Listen("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	e.server = &http.Server{Handler: handler, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			e.mu.Lock()
			e.connections++
			e.mu.Unlock()
		}
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.server.Serve(listener)
	}()
	t.Cleanup(func() {
		e.server.Close()
		<-done
	})
	return e
}

func (e *fakeEngine) dialled() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.connections
}

// fixture is a running guard with its certificates and its log.
type fixture struct {
	guard   *Guard
	dir     string
	log     *logBuffer
	stop    func() error // ends Run and answers what it returned
	address string
}

func startGuard(t *testing.T, socket string, change ...func(*Options)) *fixture {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Init(dir, pki.InitOptions{ClientName: "tester"}); err != nil {
		t.Fatal(err)
	}
	server, _, err := pki.OpenServer(pki.ServerPaths(dir), pki.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	options := Options{
		Listen: "tcp://127.0.0.1:0", Socket: socket, TLS: server.TLS(), Admits: server.Admits, Linger: 200 * time.Millisecond, DrainTimeout: timeout,
		Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&options)
	}
	g, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	select {
	case <-g.Ready():
	case err := <-ended:
		t.Fatalf("Run: %v", err)
	}
	w := &fixture{guard: g, dir: dir, log: log, address: g.Addr().String()}
	w.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * timeout):
			return fmt.Errorf("guard did not stop in %s", 2*timeout)
		}
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("stop guard: %v", err)
		}
	})
	return w
}

func (w *fixture) tls(t *testing.T) *tls.Config { return tlsOf(t, w.dir) }

func (w *fixture) client(t *testing.T) *http.Client { return clientOf(t, w.dir) }

// tlsOf is the configuration of the client with the files in dir.
func tlsOf(t *testing.T, dir string) *tls.Config {
	t.Helper()
	config, _, err := pki.LoadClientTLS(pki.ClientPaths(dir, pki.Paths{}), pki.ClientOptions{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func clientOf(t *testing.T, dir string) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: tlsOf(t, dir), MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * timeout}
}

func (w *fixture) url(path string) string { return "https://" + w.address + path }

// dial opens a connection as a client that will be taken over, and writes head to it.
func (w *fixture) dial(t *testing.T, head string) (*tls.Conn, *bufio.Reader) {
	t.Helper()
	return w.dialAs(t, w.dir, head)
}

// dialAs is dial as the client with the files in dir.
func (w *fixture) dialAs(t *testing.T, dir, head string) (*tls.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", w.address, tlsOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// logBuffer keeps JSON log entries.
type logBuffer struct {
	mu      sync.Mutex
	entries []map[string]any
}

func (b *logBuffer) Write(p []byte) (int, error) {
	entry := map[string]any{}
	if err := json.Unmarshal(bytes.TrimSpace(p), &entry); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, entry)
	return len(p), nil
}

// wait polls for an entry with this message that match accepts.
func (b *logBuffer) wait(t *testing.T, message string, match func(map[string]any) bool) map[string]any {
	t.Helper()
	var found map[string]any
	waittest.True(t, "log entry "+message, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, entry := range b.entries {
			if entry["msg"] == message && match(entry) {
				found = entry
				return true
			}
		}
		return false
	})
	return found
}

// none makes sure that nothing was logged under a message.
func (b *logBuffer) none(t *testing.T, message string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, entry := range b.entries {
		if entry["msg"] == message {
			t.Errorf("logged %v, want nothing of the kind", entry)
		}
	}
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return string(data)
}
