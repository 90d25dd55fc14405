package guard

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Clients without a certificate can neither block those with one, nor cause their connections to be closed.
func TestPendingConnectionsDoNotBlockClients(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") }))
	const most = 4
	w := startGuard(t, engine.socket, func(o *Options) { o.MaxPending = most })
	const ask = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
	answered := func(from *bufio.Reader) {
		t.Helper()
		res, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatalf("no answer beside pending connections: %v", err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	first, fromFirst := w.dial(t, ask)
	answered(fromFirst)

	var idle []net.Conn
	for range 5 * most {
		conn, err := net.DialTimeout("tcp", w.address, timeout)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	for _, conn := range idle[:4*most] { // longer than a handshake may take would be a failure as well
		if err := conn.SetReadDeadline(time.Now().Add(headerTimeout / 2)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Fatalf("an old connection without a request: got %v, want it closed", err)
		}
	}
	_, fromNext := w.dial(t, ask)
	answered(fromNext)
	if _, err := io.WriteString(first, ask); err != nil {
		t.Fatal(err)
	}
	answered(fromFirst)
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // of a connection, not wrapped
	return ok && timeout.Timeout()
}
