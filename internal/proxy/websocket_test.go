package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"berth/internal/session"

	"berth/internal/waittest"
)

// echo is a terminal that returns what it receives.
func echo(closed chan<- websocket.StatusCode) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != testUser || session.Secret(password) != testGrant {
			http.Error(w, "no credential", http.StatusForbidden)
			return
		}
		if r.URL.RawQuery != "cursor=1" {
			http.Error(w, r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				closed <- websocket.CloseStatus(err)
				return
			}
			if string(data) == "bye" {
				_ = c.Close(4001, "shell exited")
				closed <- 4001
				return
			}
			if c.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	}
}

func dialTerminal(t *testing.T, w *fixture) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), w.front.URL+"/s/"+string(testID)+"/pty/p/connect?cursor=1&auth_token=x",
		&websocket.DialOptions{HTTPHeader: http.Header{
			"Authorization": {"Bearer " + testToken.Reveal()}, "Origin": {w.front.URL},
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	say(t, c, "ls\n")
	return c
}

func say(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(ctx); err != nil || string(got) != text {
		t.Fatalf("echo of %q: got %q, %v", text, got, err)
	}
}

func TestWebSocketForwardsMessagesAndClose(t *testing.T) {
	t.Parallel()
	closed := make(chan websocket.StatusCode, 1)
	w := setup(t, echo(closed))

	c := dialTerminal(t, w)
	say(t, c, strings.Repeat("long line ", 3000))
	if err := c.Close(websocket.StatusGoingAway, "tab closed"); err != nil {
		t.Errorf("close: %v", err)
	}
	if got := within(t, "server's end", closed); got != websocket.StatusGoingAway {
		t.Errorf("the server saw close status %d, want the client's %d", got, websocket.StatusGoingAway)
	}

	c = dialTerminal(t, w)
	if err := c.Write(t.Context(), websocket.MessageText, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Read(t.Context())
	if got := websocket.CloseStatus(err); got != 4001 {
		t.Errorf("the client saw close status %d (%v), want the server's 4001", got, err)
	}
	waittest.True(t, "nothing in flight", func() bool { return w.proxy.InFlight() == 0 })
}

func TestWebSocketOfVanishedClientIsClosedAtServer(t *testing.T) {
	t.Parallel()
	closed := make(chan websocket.StatusCode, 1)
	w := setup(t, echo(closed))
	_ = dialTerminal(t, w).CloseNow()
	within(t, "server's end", closed)
}

func TestUpgradeToAnythingElseIsAnOrdinaryRequest(t *testing.T) {
	t.Parallel()
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" || r.Header.Get("Connection") != "" {
			t.Errorf("the server got an upgrade to %q", r.Header.Get("Upgrade"))
		}
	})
	r := w.request(t, http.MethodGet, "/", nil)
	r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
	r.Header.Set("Upgrade", "h2c")
	if got := w.do(t, r); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
}

func TestUnrequestedUpgradeIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	w.get(t, "/").mustBe(t, 502, session.CodeUpstream, "the server switched protocols by itself")
}

// The text of a server's status line would reach the client unfiltered.
func TestUpgradeHasProxysStatusLine(t *testing.T) {
	t.Parallel()
	const header = "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for line, want := range map[string]string{
		"HTTP/1.1 101 Switching Protocols": "HTTP/1.1 101 Switching Protocols",
		"HTTP/1.1 101":                     "HTTP/1.1 101 Switching Protocols",
		"HTTP/1.1 101 a\rSet-Cookie: a=b; Domain=example.com\r\x1b": "HTTP/1.1 101 Switching Protocols",
		"HTTP/1.1 101 " + strings.Repeat("a", 40<<10):               "HTTP/1.1 101 Switching Protocols",
		"HTTP/9.9 101 a": "HTTP/1.1 101 Switching Protocols",
		"HTTP/1.0 101 a": "HTTP/1.1 502 Bad Gateway",
	} {
		t.Run(line[:min(len(line), 20)], func(t *testing.T) {
			t.Parallel()
			s := newScripted(t, says(line+header))
			w := s.front(t)
			conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /s/%s/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
				testID, testToken.Reveal())
			if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || got != want+"\r\n" {
				t.Errorf("got %.200q, %v, want %q", got, err, want)
			}
		})
	}
}
