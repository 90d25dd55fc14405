package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/session"

	"berth/internal/waittest"
)

// scripted is a session's server that responds as the script says, on real sockets.
type scripted struct {
	listener net.Listener
	open     atomic.Int64
}

// script is called for each connection, with its first request read.
func newScripted(t *testing.T, script func(net.Conn, *bufio.Reader, *http.Request)) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{listener: l}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Add(1)
			running.Go(func() {
				defer s.open.Add(-1)
				defer conn.Close()
				r := bufio.NewReader(conn)
				if request, err := http.ReadRequest(r); err == nil {
					script(conn, r, request)
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return s
}

// front puts a proxy before the server.
func (s *scripted) front(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	w := setup(t, http.NotFound, change...)
	r := w.route()
	r.Address = s.listener.Addr().String()
	w.table.Set(r)
	t.Cleanup(w.table.Close) // before the server waits for its connections
	return w
}

// says responds to every request with a text and keeps the connection until the proxy closes it.
func says(text string) func(net.Conn, *bufio.Reader, *http.Request) {
	return func(conn net.Conn, r *bufio.Reader, _ *http.Request) {
		for err := error(nil); err == nil; _, err = http.ReadRequest(r) {
			_, _ = io.WriteString(conn, text)
		}
		_, _ = io.Copy(io.Discard, r)
	}
}

// repeats writes a text until writing fails.
func repeats(start, text string) func(net.Conn, *bufio.Reader, *http.Request) {
	return func(conn net.Conn, _ *bufio.Reader, _ *http.Request) {
		_, _ = io.WriteString(conn, start)
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

// idleSoonClosed has idle connections closed soon, so that a connection that stays open is a leak.
func idleSoonClosed(o *Options) { o.Transport.KeepaliveExpiry = 20 * time.Millisecond }

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc/self/fd to count descriptors in")
	}
	return len(entries)
}

//nolint:paralleltest // it counts the descriptors of the whole process
func TestNoServerResponseLeaksAConnection(t *testing.T) {
	const h2c = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
	const ws = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	type script = func(net.Conn, *bufio.Reader, *http.Request)
	for name, c := range map[string]struct {
		method, header string
		server         script
		status         int // of the response; 0: none that is complete
	}{
		"h2c unasked":                    {"GET", "", says(h2c), 502},
		"h2c where it was asked for":     {"GET", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", says(h2c), 502},
		"WebSocket unasked":              {"GET", "", says(ws), 502},
		"WebSocket with more than 101":   {"GET", "", says(ws + strings.Repeat("x", 5000)), 502},
		"h2c for a WebSocket":            {"GET", upgrade, says(h2c), 502},
		"two protocols for a WebSocket":  {"GET", upgrade, says(strings.Replace(ws, "websocket", "websocket\r\nUpgrade: h2c", 1)), 502},
		"WebSocket on HEAD":              {"HEAD", upgrade, says(ws), 502},
		"WebSocket on POST":              {"POST", upgrade + "Content-Length: 0\r\n", says(ws), 502},
		"WebSocket on half a body":       {"POST", upgrade + "Content-Length: 10\r\n", says(ws), 502},
		"101 without a protocol":         {"GET", "", says("HTTP/1.1 101 Switching Protocols\r\n\r\n"), 502},
		"101 with a length":              {"GET", "", says("HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n\r\nhello"), 502},
		"101 in lower case":              {"GET", "", says("HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: H2C\r\n\r\n"), 502},
		"status 099":                     {"GET", "", says("HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n"), 502},
		"status 000":                     {"GET", "", says("HTTP/1.1 000 x\r\nContent-Length: 5\r\n\r\nhello"), 502},
		"status 600":                     {"GET", "", says("HTTP/1.1 600 x\r\nContent-Length: 5\r\n\r\nhello"), 502},
		"status 999":                     {"GET", "", says("HTTP/1.1 999 x\r\n\r\nendless"), 502},
		"status of four digits":          {"GET", "", says("HTTP/1.1 2000 x\r\n\r\n"), 502},
		"no HTTP":                        {"GET", "", says("SSH-2.0-OpenSSH\r\n\r\n"), 502},
		"HTTP/2 preface":                 {"GET", "", says("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 502},
		"endless interim responses":      {"GET", "Accept: text/event-stream\r\n", repeats("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), 502},
		"endless 100":                    {"GET", "Accept: text/event-stream\r\n", repeats("", "HTTP/1.1 100 Continue\r\n\r\n"), 502},
		"endless header":                 {"GET", "", repeats("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"), 502},
		"endless header line":            {"GET", "", repeats("HTTP/1.1 200 OK\r\nX-A: ", "bbbbbbbb"), 502},
		"endless status line":            {"GET", "", repeats("HTTP/1.1 200 ", "bbbbbbbb"), 502},
		"endless header of an interim":   {"GET", "", repeats("HTTP/1.1 103 Early Hints\r\n", "X-A: b\r\n"), 502},
		"endless trailer":                {"GET", "", repeats("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", "X-A: b\r\n"), 0},
		"interim with Connection: close": {"GET", "", says("HTTP/1.1 103 x\r\nConnection: close\r\n\r\nHTTP/1.1 700 x\r\n\r\n"), 502},
	} {
		t.Run(name, func(t *testing.T) {
			server := newScripted(t, c.server)
			w := server.front(t, idleSoonClosed)
			before := descriptors(t)
			for range 20 {
				if got := exchange(t, w, c.method, c.header); got != c.status {
					t.Fatalf("got %d, want %d", got, c.status)
				}
			}
			waittest.True(t, "server's connections closed", func() bool { return server.open.Load() == 0 })
			waittest.True(t, "nothing counted as open", func() bool { return w.proxy.Load().Connections == 0 && w.proxy.InFlight() == 0 })
			waittest.True(t, "descriptors given back", func() bool { return descriptors(t) <= before })
		})
	}
}

// exchange sends a request on its own connection and returns the status of the final response; 0: there was none, or it was
// truncated.
func exchange(t *testing.T, w *fixture, method, header string) int {
	t.Helper()
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s /s/ses-one/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n%s\r\n", method, testToken.Reveal(), header)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				t.Fatal("no answer within 5 s")
			}
			return 0
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return 0
		}
		if res.StatusCode >= 200 {
			return res.StatusCode
		}
	}
}

//nolint:paralleltest // it counts the descriptors of the whole process
func TestClientDisconnectDuringUpgradeLeaksNothing(t *testing.T) {
	server := newScripted(t, func(conn net.Conn, r *bufio.Reader, request *http.Request) {
		if request.URL.Path == "/later" {
			<-time.After(20 * time.Millisecond) // until the client has disconnected
		}
		says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")(conn, r, request)
	})
	w := server.front(t, idleSoonClosed)
	before := descriptors(t)
	for _, path := range []string{"/now", "/later"} {
		for range 20 {
			conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /s/ses-one%s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", path, testToken.Reveal())
			if path == "/now" {
				if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 101 ") {
					t.Fatalf("got %q, %v", line, err)
				}
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}
	waittest.True(t, "server's connections closed", func() bool { return server.open.Load() == 0 })
	waittest.True(t, "descriptors given back", func() bool { return descriptors(t) <= before })
}

// Clients that send a request and disconnect at once free their slot; the connections being made for them stay counted.
func TestConnectionsOfASessionAreBounded(t *testing.T) {
	t.Parallel()
	var dialing, most atomic.Int64
	w := setup(t, http.NotFound, func(o *Options) {
		o.Transport = Transport{MaxConnections: 2, MaxKeepaliveConnections: 1, ConnectTimeout: time.Minute, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			now := dialing.Add(1)
			defer dialing.Add(-1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}}
	})
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := w.client.Do(w.request(t, http.MethodGet, "/", nil).WithContext(ctx)); err == nil {
				res.Body.Close()
			}
		}()
		want := int64(min(i+1, 5))
		waittest.True(t, "connection being made", func() bool { return dialing.Load() >= want })
		cancel()
		<-done
		waittest.True(t, "request given up", func() bool { return w.proxy.InFlight() == 0 })
	}
	if got := most.Load(); got != 5 {
		t.Errorf("connections at once: got %d, want 5: two requests, two streams and an idle one", got)
	}
	w.get(t, "/").mustBe(t, 429, session.CodeLimit, "the session has all its connections in use")

	other := w.route()
	other.ID, other.Running = "ses-two", true
	w.table.Set(other)
	r := w.request(t, http.MethodGet, "/", nil)
	r.URL.Path = "/s/ses-two/"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		if res, err := w.client.Do(r.WithContext(ctx)); err == nil {
			res.Body.Close()
		}
	}()
	waittest.True(t, "another session gets a connection", func() bool { return dialing.Load() == 6 })
}

func TestRequestsOfASessionAreBounded(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	w := setup(t, func(http.ResponseWriter, *http.Request) { <-hold }, func(o *Options) {
		o.Transport = Transport{MaxConnections: 2, ConnectTimeout: time.Minute}
	})
	answers := make(chan int, 6)
	for range 6 {
		r := w.request(t, http.MethodGet, "/", nil)
		go func() { answers <- w.do(t, r).status }()
	}
	waittest.True(t, "two at work and four waiting", func() bool { return w.proxy.Load().Waiting == 4 })
	w.get(t, "/").mustBe(t, 429, session.CodeLimit, "as many wait as may")
	close(hold)
	for range 6 {
		if got := within(t, "answer", answers); got != 200 {
			t.Errorf("of the waiting requests: got %d", got)
		}
	}
}

func TestOneSessionLeavesConnectionsForOthers(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
	}, func(o *Options) { o.MaxConnections, o.MaxRequests = 8, 8 })
	two := w.route()
	two.ID = "ses-two"
	w.table.Set(two)
	answers := make(chan int, 20)
	for range 20 {
		r := w.request(t, http.MethodGet, "/hold", nil)
		go func() { answers <- w.do(t, r).status }()
	}
	for range 16 {
		if got := within(t, "answer", answers); got != 429 {
			t.Errorf("beyond the share: got %d, want 429", got)
		}
	}
	r := w.request(t, http.MethodGet, "/", nil)
	r.URL.Path = "/s/ses-two/"
	if got := w.do(t, r); got.status != 200 {
		t.Errorf("another session: got %d, want 200\n%s", got.status, got.body)
	}
	close(hold)
	for range 4 {
		if got := within(t, "answer", answers); got != 200 {
			t.Errorf("within the share: got %d, want 200", got)
		}
	}
	if got := w.get(t, "/"); got.status != 200 {
		t.Errorf("afterwards: got %d", got.status)
	}
}
