package guard

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth/internal/waittest"
)

const (
	upgradeHead = "POST /v1.41/containers/x/attach?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
	rawHead     = "POST /v1.41/containers/x/attach?stream=1 HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"
	execHead    = "POST /v1.41/exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
)

// attach answers as the engine does: 101 for an upgrade, else 200 without a length; then script has the connection.
func attach(t *testing.T, script func(conn *net.UnixConn, reader *bufio.Reader)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestBody, _ := io.ReadAll(r.Body)
		raw, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer raw.Close()
		head := "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
		if r.Header.Get("Upgrade") == "tcp" && strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
		}
		fmt.Fprintf(raw, "%sX-Body: %s\r\n\r\n", head, requestBody)
		script(raw.(*net.UnixConn), buffered.Reader)
	})
}

func wasHijacked(entry map[string]any) bool {
	hijacked, _ := entry["hijacked"].(bool)
	return hijacked
}

// cat repeats its input after its end, like a program that answers only at the end of its input.
func cat(conn *net.UnixConn, reader *bufio.Reader) {
	data, err := io.ReadAll(reader)
	fmt.Fprintf(conn, "%s(%v)", data, err)
}

// readHead reads the answer's head up to the empty line.
func readHead(t *testing.T, reader *bufio.Reader) string {
	t.Helper()
	var head strings.Builder
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			t.Fatalf("head %q: %v", head.String(), err)
		}
		if line == "\r\n" {
			return head.String()
		}
		head.WriteString(line)
	}
}

func TestHijackedConnectionHalfCloses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, head, requestBody, status string }{
		{"upgrade", upgradeHead, "", "HTTP/1.1 101 UPGRADED"},
		{"old form without upgrade", rawHead, "", "HTTP/1.1 200 OK"},
		{"exec with a body", execHead, `{"Detach":false}`, "HTTP/1.1 101 UPGRADED"},
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/early=%v", tt.name, early), func(t *testing.T) {
				t.Parallel()
				engine := startEngine(t, attach(t, cat))
				w := startGuard(t, engine.socket)
				head := tt.head + tt.requestBody
				if early {
					// Input sent along with the request must not get lost in a buffer on the way.
					head += "hi\n"
				}
				conn, reader := w.dial(t, head)
				got := readHead(t, reader)
				for _, want := range []string{tt.status, "Content-Type: application/vnd.docker.raw-stream\r\n", "X-Body: " + tt.requestBody + "\r\n"} {
					if !strings.Contains(got, want) {
						t.Errorf("head %q lacks %q", got, want)
					}
				}
				if !early {
					if _, err := io.WriteString(conn, "hi\n"); err != nil {
						t.Fatal(err)
					}
				}
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				output, err := io.ReadAll(reader)
				if string(output) != "hi\n(<nil>)" || err != nil {
					t.Errorf("output %q, %v; want the input back after its end", output, err)
				}
				entry := w.log.wait(t, "engine request", wasHijacked)
				if fmt.Sprint(entry["status"]) != tt.status[9:12] {
					t.Errorf("logged status %v, want that of %q", entry["status"], tt.status)
				}
			})
		}
	}
}

func TestHijackedConnectionIsFullDuplex(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, attach(t, func(conn *net.UnixConn, reader *bufio.Reader) {
		for {
			line, err := reader.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(conn, "echo ", line)
		}
	}))
	conn, reader := startGuard(t, engine.socket).dial(t, upgradeHead)
	readHead(t, reader)
	for i := range 5 {
		fmt.Fprintf(conn, "%d\n", i)
		if line, err := reader.ReadString('\n'); line != fmt.Sprintf("echo %d\n", i) {
			t.Fatalf("line %q, %v; want an echo at once", line, err)
		}
	}
}

// The last output of an engine's program that stops reading, like head, must still arrive.
func TestOutputArrivesWhenEngineStopsReading(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	sent := make(chan struct{})
	engine := startEngine(t, attach(t, func(conn *net.UnixConn, _ *bufio.Reader) {
		_ = conn.CloseRead()
		<-sent
		_, _ = io.WriteString(conn, strings.Repeat("x", size))
	}))
	conn, reader := startGuard(t, engine.socket).dial(t, upgradeHead)
	readHead(t, reader)
	// This exceeds all buffers on the way: it can be sent only if the guard keeps reading.
	for range 32 {
		if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
			t.Errorf("send input that the engine does not take: %v", err)
			break
		}
	}
	close(sent)
	output, err := io.ReadAll(reader)
	if len(output) != size || err != nil {
		t.Errorf("%d bytes of output, %v; want all %d", len(output), err, size)
	}
}

// A client that still sends when the engine has ended must not lose unread output.
func TestOutputArrivesDespiteLateInput(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	ended := make(chan struct{})
	engine := startEngine(t, attach(t, func(conn *net.UnixConn, reader *bufio.Reader) {
		_, _ = io.WriteString(conn, strings.Repeat("x", size))
		_ = conn.CloseWrite()
		close(ended)
		_, _ = reader.ReadByte()
	}))
	w := startGuard(t, engine.socket, func(o *Options) { o.Linger = timeout })
	conn, reader := w.dial(t, upgradeHead)
	if err := conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	readHead(t, reader)
	<-ended
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		<-tick.C
		// An error is possible here; the output below is checked.
		_, _ = conn.Write([]byte("x"))
	}
	if output, err := io.ReadAll(reader); len(output) != size || err != nil {
		t.Errorf("%d bytes of output, %v; want all %d", len(output), err, size)
	}
}

func TestEngineEOFEndsConnection(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, attach(t, func(conn *net.UnixConn, _ *bufio.Reader) { fmt.Fprint(conn, "bye") }))
	w := startGuard(t, engine.socket)
	conn, reader := w.dial(t, upgradeHead)
	readHead(t, reader)
	if output, err := io.ReadAll(reader); string(output) != "bye" || err != nil {
		t.Errorf("output %q, %v; want bye and a clean end", output, err)
	}
	// This client never closes its own direction; the guard must not wait for it indefinitely.
	w.log.wait(t, "engine request", wasHijacked)
	waittest.True(t, "closed connection", func() bool {
		_, err := conn.Write([]byte("x"))
		return err != nil
	})
}

func TestAbortedClientReleasesEngineConnection(t *testing.T) {
	t.Parallel()
	freed := make(chan error, 1)
	engine := startEngine(t, attach(t, func(_ *net.UnixConn, reader *bufio.Reader) {
		_, err := reader.ReadByte()
		freed <- err
	}))
	conn, reader := startGuard(t, engine.socket).dial(t, upgradeHead)
	readHead(t, reader)
	conn.NetConn().Close()
	select {
	case err := <-freed:
		if err == nil {
			t.Error("the engine read a byte that was not sent")
		}
	case <-time.After(timeout):
		t.Error("the engine still waits for a client that is gone")
	}
}

func TestRefusedUpgradeIsOrdinaryAnswer(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message":"No such container: x"}`)
	}))
	w := startGuard(t, engine.socket)
	client := w.client(t)
	for range 2 {
		request, err := http.NewRequest(http.MethodPost, w.url("/v1.41/containers/x/attach"), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "tcp")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, response); response.StatusCode != http.StatusNotFound || got != `{"message":"No such container: x"}` {
			t.Errorf("got %d %q, want the engine's own refusal", response.StatusCode, got)
		}
	}
}

func TestDetachedExecIsOrdinaryAnswer(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	w := startGuard(t, engine.socket)
	response, err := w.client(t).Post(w.url("/exec/x/start"), "application/json", strings.NewReader(`{"Detach":true}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, response); response.StatusCode != http.StatusOK || got != "" {
		t.Errorf("got %d %q, want 200 and nothing", response.StatusCode, got)
	}
}

func TestStopClosesHijackedConnections(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, attach(t, func(_ *net.UnixConn, reader *bufio.Reader) { _, _ = reader.ReadByte() }))
	w := startGuard(t, engine.socket, func(o *Options) { o.DrainTimeout = 50 * time.Millisecond })
	_, reader := w.dial(t, upgradeHead)
	readHead(t, reader)
	if err := w.stop(); err != nil {
		t.Errorf("Run: %v, want nil", err)
	}
	if _, err := reader.ReadByte(); err == nil {
		t.Error("the taken-over connection is still open after Run returned")
	}
}
