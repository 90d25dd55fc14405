package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A body that cannot be read is the client's error, and one with a declared length over the limit is refused unread.
func TestUnreadableBodiesAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for name, tc := range map[string]struct {
		sent   string // after the common header fields
		status int
		code   string
	}{
		"chunk without a size": {"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed_request"},
		"cut short":            {"Content-Length: 100\r\n\r\n{\"owner\":", 400, "malformed_request"},
		"announced too large":  {"Content-Length: 100000000\r\n\r\n", 413, "body_too_large"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s", adminToken, tc.sent)
		if tc.status == http.StatusBadRequest {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != tc.status || !strings.Contains(string(body), `"code":"`+tc.code+`"`) {
			t.Errorf("%s: got %s %s, want %d %s", name, resp.Status, body, tc.status, tc.code)
		}
	}
}
