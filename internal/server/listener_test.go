package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serve runs a handler behind a clientListener and returns its address. Requests with an Authorization have a valid token.
func serve(t *testing.T, handler http.HandlerFunc, most int, timeout time.Duration) (address string, l *clientListener) {
	t.Helper()
	var seen connections
	server := httptest.NewUnstartedServer(handler)
	l = &clientListener{Listener: server.Listener, most: most, timeout: timeout, probe: time.Second, closeOldest: seen.closeOldest, open: new(atomic.Int64)}
	server.Listener = l
	server.Config.ConnState, server.Config.ConnContext = seen.note, seen.begin
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			connectionOf(r.Context()).hold(true)
			defer connectionOf(r.Context()).hold(false)
		}
		handler(w, r)
	})
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return l.Addr().String(), l
}

func ask(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\n\r\n")
	return conn
}

// endless writes until a write fails, and signals that.
func endless(piece int, pause time.Duration, ended chan<- time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		tick := time.NewTicker(max(pause, time.Nanosecond))
		defer tick.Stop()
		for {
			_, err := w.Write(make([]byte, piece))
			if flush := http.NewResponseController(w).Flush(); err != nil || flush != nil {
				ended <- time.Since(began)
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				ended <- time.Since(began)
				return
			}
		}
	}
}

func TestConnectionOfNonReadingClientIsClosed(t *testing.T) {
	t.Parallel()
	for _, hijacked := range []bool{false, true} {
		t.Run(fmt.Sprintf("hijacked %v", hijacked), func(t *testing.T) {
			t.Parallel()
			ended := make(chan time.Duration, 1)
			handler := endless(1<<16, 0, ended)
			if hijacked {
				handler = func(w http.ResponseWriter, _ *http.Request) {
					began := time.Now()
					conn, _, err := http.NewResponseController(w).Hijack()
					for err == nil {
						_, err = conn.Write(make([]byte, 1<<16))
					}
					_ = conn.Close()
					ended <- time.Since(began)
				}
			}
			address, l := serve(t, handler, 10, 500*time.Millisecond)
			ask(t, address)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("it is still written to after twenty times the timeout")
			}
			for deadline := time.Now().Add(5 * time.Second); l.open.Load() > 0; <-time.After(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the connection is still open")
				}
			}
		})
	}
}

// What a slow client reads between two checks need not be enough for the socket to accept more.
func TestConnectionOfSlowReaderIsKept(t *testing.T) {
	t.Parallel()
	ended := make(chan time.Duration, 1)
	address, _ := serve(t, endless(4<<20, 0, ended), 10, 4*time.Second)
	conn := ask(t, address)
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	piece, tick := make([]byte, 32<<10), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for range 120 { // three times the timeout of a client that reads nothing, and far less than one piece
		<-tick.C
		if _, err := conn.Read(piece); err != nil {
			t.Fatalf("after %d pieces: %v", len(ended), err)
		}
	}
	select {
	case after := <-ended:
		t.Errorf("closed after %v", after)
	default:
	}
}

// The client's machine is unreachable: it acknowledges nothing and sends nothing.
func TestConnectionOfVanishedClientIsClosed(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]time.Duration{"while it is sent to": 50 * time.Millisecond, "while all is silent": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan time.Duration, 1)
			address, _ := serve(t, endless(10, pause, ended), 10, time.Second)
			conn := ask(t, address)
			if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			dropAll(t, conn)
			select {
			case <-ended:
			case <-time.After(15 * time.Second):
				t.Error("still held after fifteen times the timeout")
			}
		})
	}
}

// dropAll has the kernel drop all packets of a connection, as if the network were cut.
func dropAll(t *testing.T, conn net.Conn) {
	t.Helper()
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	control(conn.(*net.TCPConn), func(fd int) error {
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
		if err != nil {
			t.Fatalf("attach a filter: %v", err)
		}
		return nil
	})
}

func TestIdleConnectionsAreClosedForNewOnes(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	address, l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			<-hold
		}
	}, 4, time.Minute)
	ask(t, address)
	for deadline := time.Now().Add(5 * time.Second); l.open.Load() < 1; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not accepted")
		}
	}
	for range 50 { // connections without a request do not block a client that sends one
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for range 5 {
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + "/x")
		if err != nil {
			t.Fatalf("a request beside idle connections: %v", err)
		}
		_ = res.Body.Close()
	}
	if got := l.open.Load(); got > 4 {
		t.Errorf("open: got %d, want at most 4", got)
	}
	close(hold)
}

func TestConnectionsWithRequestsAreNotClosedForOthers(t *testing.T) {
	t.Parallel()
	began, hold := make(chan struct{}, 4), make(chan struct{})
	address, _ := serve(t, func(http.ResponseWriter, *http.Request) { began <- struct{}{}; <-hold }, 4, time.Minute)
	var held []net.Conn
	for range 4 {
		held = append(held, ask(t, address))
		<-began
	}
	more := ask(t, address)
	_ = more.SetReadDeadline(time.Now().Add(5 * time.Second))
	if got, err := io.ReadAll(more); len(got) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("one more than the limit: got %q, %v, want it closed", got, err)
	}
	close(hold)
	for _, conn := range held {
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
			t.Errorf("one that was served: got %q, %v", line, err)
		}
	}
}

// A client that sends no token and reads no responses does not block other clients.
func TestConnectionsOfUnauthenticatedClientsAreClosedForNewOnes(t *testing.T) {
	t.Parallel()
	began, hold := make(chan struct{}, 100), make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	address, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && r.Header.Get("Authorization") != "" {
			began <- struct{}{}
			<-hold
		}
		if r.URL.Path == "/x" {
			began <- struct{}{}
			_, _ = w.Write(make([]byte, 32<<20))
		}
	}, 8, time.Minute)
	t.Cleanup(release) // before the server's cleanup, which waits
	kept := ask(t, address)
	<-began
	var unauthenticated []net.Conn
	for range 7 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(conn, strings.Repeat("GET /x HTTP/1.1\r\nHost: h\r\n\r\n", 100)) // it may be closed already
		<-began
		unauthenticated = append(unauthenticated, conn)
	}
	for range 10 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/y", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer x")
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}).Do(req)
		if err != nil {
			t.Fatalf("beside %d connections without a token: %v", len(unauthenticated), err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	if got := l.open.Load(); got > 8 {
		t.Errorf("open: got %d, want at most 8", got)
	}
	release()
	if line, err := bufio.NewReader(kept).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Errorf("the request with a token that was there first: got %q, %v", line, err)
	}
}

// A connection that had a valid token is closed after those that never had one, also while it is idle.
func TestUnauthenticatedConnectionIsClosedBeforeAuthenticated(t *testing.T) {
	t.Parallel()
	var seen connections
	known, peer := net.Pipe()
	unauthenticated, other := net.Pipe()
	defer peer.Close()
	defer other.Close()
	ctx := seen.begin(t.Context(), known)
	seen.note(known, http.StateActive)
	connectionOf(ctx).know()
	seen.begin(t.Context(), unauthenticated)
	seen.note(unauthenticated, http.StateActive)
	seen.note(known, http.StateActive)
	for _, want := range []net.Conn{unauthenticated, known} {
		if !seen.closeOldest() {
			t.Fatal("no connection was closed")
		}
		if err := want.SetDeadline(time.Now()); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("the connection that should be closed: got %v", err)
		}
	}
}

func TestDescriptorsAreDivided(t *testing.T) {
	t.Parallel()
	for _, most := range []uint64{128, 300, 1024, 65536, 1 << 62} {
		d := shareDescriptors(most)
		if d.Clients < 16 || d.Upstreams < 8 || d.Events < 2 || d.Requests+d.Events >= d.Clients || uint64(d.Clients+d.Upstreams)+64 > most {
			t.Errorf("of %d: got %+v, want some of each, fewer requests than clients, and 64 left", most, d)
		}
	}
}

// A terminal may be silent for hours; its client answers the kernel's keepalive probes.
func TestSilentConnectionOfLiveClientIsKept(t *testing.T) {
	t.Parallel()
	speak := make(chan struct{})
	address, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-speak
		_, _ = io.WriteString(w, "last")
	}, 10, time.Second)
	res, err := http.ReadResponse(bufio.NewReader(ask(t, address)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-time.After(3500 * time.Millisecond) // more than three times the timeout of a vanished client
	close(speak)
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != "firstlast" {
		t.Errorf("got %q, %v", got, err)
	}
}

// Without the kernel option, as before Linux 5.11, the write deadline distinguishes clients that read nothing from slow ones.
func TestWriteDeadlineSparesSlowClients(t *testing.T) {
	t.Parallel()
	for name, reads := range map[string]bool{"reads nothing": false, "reads slowly": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_ = client.(*net.TCPConn).SetReadBuffer(64 << 10) // or the kernel announces a window only when there is much space
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn := &clientConn{TCPConn: accepted.(*net.TCPConn), stall: 2 * time.Second, closed: func() {}}
			_ = conn.SetWriteBuffer(1 << 20)
			ended := make(chan error, 1)
			go func() {
				_, err := conn.Write(make([]byte, 64<<20))
				ended <- err
			}()
			tick, piece := time.NewTicker(50*time.Millisecond), make([]byte, 32<<10)
			defer tick.Stop()
			deadline := time.After(30 * time.Second)
			for range 200 {
				select {
				case <-tick.C:
				case err := <-ended:
					if reads || !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("the write ended with %v", err)
					}
					return
				case <-deadline:
				}
				if reads {
					_, _ = client.Read(piece)
				}
			}
			if !reads {
				t.Error("it is still written to after five times the timeout")
			}
			_ = conn.Close()
			if err := <-ended; err == nil {
				t.Error("64 MiB were written to a client that reads 800 KiB")
			}
		})
	}
}
