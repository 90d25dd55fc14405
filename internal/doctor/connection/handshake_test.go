package connection

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHandshakeFailureCodes(t *testing.T) {
	t.Parallel()
	closed := listen(t, func(net.Conn) {})
	for name, tc := range map[string]struct {
		host func(t *testing.T) string
		want string
	}{
		"plain HTTP": {func(t *testing.T) string {
			return listen(t, func(c net.Conn) {
				_, _ = c.Read(make([]byte, 1))
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
				_, _ = io.Copy(io.Discard, c)
			})
		}, "! handshake not-tls"},
		"silence": {func(t *testing.T) string {
			return listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		}, "! handshake handshake-timeout"},
		"a closed door": {func(*testing.T) string { return closed }, "! handshake handshake-closed"},
		"no server": {func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return "tcp://" + l.Addr().String()
		}, "! connect connection-refused"},
		"an unwilling server": {func(t *testing.T) string {
			f, _ := setup(t, "")
			return f.start(t, &engine{config: func(c *tls.Config) {
				c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
			}})
		}, "! handshake handshake-refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, o := setup(t, tc.host(t))
			o.Timeout = 500 * time.Millisecond
			r := check(t, o)
			if diff := cmp.Diff([]string{tc.want}, faults(r)); diff != "" {
				t.Errorf("warnings and failures (-want +got):\n%s", diff)
			}
			if s := stepOf(t, r, stepPing); s.Status != Skipped || s.Code != earlierFailure {
				t.Errorf("ping: got %s %s, want skipped because of the failure", s.Status, s.Code)
			}
			if s, ok := r.FirstFailure(); !ok || r.Status != Fail || !strings.Contains(tc.want, s.Name) {
				t.Errorf("FirstFailure: got %q, status %s", s.Name, r.Status)
			}
		})
	}
}

func TestAuthenticateFailureCodes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve func(*tls.Conn)
		want  string
	}{
		"no answer": {func(c *tls.Conn) { _, _ = io.Copy(io.Discard, c) }, "! authenticate no-answer"},
		"hang-up":   {func(c *tls.Conn) { _, _ = c.Read(make([]byte, 1)) }, "! authenticate closed-unanswered"},
		"no HTTP": {func(c *tls.Conn) {
			_, _ = c.Read(make([]byte, 1024))
			_, _ = io.WriteString(c, "220 mail ready\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, "! authenticate not-an-engine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, o := setup(t, "")
			clients := x509.NewCertPool()
			clients.AddCert(f.ours.cert)
			config := &tls.Config{
				Certificates: []tls.Certificate{f.ours.issue(t, x509.ExtKeyUsageServerAuth)},
				ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS13,
			}
			o.Host = listen(t, func(c net.Conn) {
				conn := tls.Server(c, config)
				if conn.Handshake() == nil {
					tc.serve(conn)
				}
			})
			o.Timeout = time.Second
			if diff := cmp.Diff([]string{tc.want}, faults(check(t, o))); diff != "" {
				t.Errorf("warnings and failures (-want +got):\n%s", diff)
			}
		})
	}
}
