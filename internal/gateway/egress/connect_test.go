package egress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"berth/internal/session"
)

// connect sends a CONNECT, with what follows in the same packet, and returns its response and the connection.
func connect(t *testing.T, proxy, target, follows string) (*http.Response, *bufio.Reader, *net.TCPConn) {
	t.Helper()
	conn := dial(t, proxy)
	if _, err := io.WriteString(conn, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\n"+follows); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	res, err := http.ReadResponse(from, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatalf("CONNECT %s: %v", target, err)
	}
	return res, from, conn
}

func TestConnectIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("a.wild.example", "10.0.0.7")
	proxy := f.proxy(t)
	for target, c := range map[string]struct {
		status int
		says   string
	}{
		"evil.example:443":         {403, "evil.example:443 is not on this session's list"},
		"allowed.example:22":       {403, "allowed.example only"},
		"odd.example:443":          {403, "odd.example:8443 only"},
		"a.wild.example:443":       {403, "a.wild.example:443 has a private address"},
		"203.0.113.1:443":          {403, "is not on this session's list"},
		"127.0.0.1:443":            {403, "is not on this session's list"},
		"[::1]:443":                {403, "is not on this session's list"},
		"169.254.169.254:80":       {403, "is not on this session's list"},
		"allowed.example.:443":     {400, "is not a host name"},
		"[[allowed.example]]:443":  {400, ""},
		"[::ffff:10.1.2.3]:5432":   {400, "not a plain address"},
		"127.1:443":                {400, "not a host name"},
		"allowed.example%2e:443":   {400, ""},
		"user@allowed.example:443": {400, ""},
	} {
		res, _, conn := connect(t, proxy, target, "")
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Errorf("%s: %v", target, err)
		}
		if res.StatusCode != c.status || !strings.Contains(string(body), c.says) {
			t.Errorf("%s: got %d %q, want %d with %q", target, res.StatusCode, body, c.status, c.says)
		}
		_ = conn.Close()
	}
	if _, dialled := f.out.left(); len(dialled) > 0 {
		t.Errorf("dialled %q, want nothing", dialled)
	}
	if !f.reported(ReasonAddress, "private address") {
		t.Error("a private address was not reported")
	}
}

func TestConnectByMode(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("any.example", "203.0.113.1")
	f.out.name("inside.example", "10.0.0.7")
	f.server(t, "203.0.113.1:22", func(*net.TCPConn) {})
	proxy := f.proxy(t)
	f.caller("one", here, session.EgressNone, "any.example:22")
	if res, _, _ := connect(t, proxy, "any.example:22", ""); res.StatusCode != 403 {
		t.Errorf("egress none: got %d, want 403", res.StatusCode)
	}
	f.nothingLeft(t, "egress none")
	f.caller("one", here, session.EgressOpen)
	for target, want := range map[string]int{"any.example:22": 200, "inside.example:22": 403, "10.0.0.7:22": 403, "any.example:23": 502} {
		if res, _, _ := connect(t, proxy, target, ""); res.StatusCode != want {
			t.Errorf("egress open, %s: got %d, want %d", target, res.StatusCode, want)
		}
	}
}

func TestConnectTo443MustBeTLSForItsName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("allowed.example", "203.0.113.1")
	received := make(chan []byte, 16)
	f.server(t, "203.0.113.1:443", func(c *net.TCPConn) {
		got, _ := io.ReadAll(c)
		received <- got
	})
	proxy := f.proxy(t)
	for what, c := range map[string]struct {
		first  []byte
		reason Reason
	}{
		"another listed name": {clientHello(t, &tls.Config{ServerName: "a.wild.example"}), ReasonSNIMismatch},
		"no name":             {clientHello(t, &tls.Config{InsecureSkipVerify: true}), ReasonNoSNI},
		"plain HTTP":          {[]byte("GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n"), ReasonNotTLS},
	} {
		res, from, conn := connect(t, proxy, "allowed.example:443", string(c.first))
		if res.StatusCode != 200 {
			t.Fatalf("%s: got %d", what, res.StatusCode)
		}
		if got, _ := io.ReadAll(from); len(got) == 0 || got[0] != recordAlert {
			t.Errorf("%s: got %v, want a TLS alert", what, got)
		}
		_ = conn.Close()
		if got := <-received; len(got) > 0 {
			t.Errorf("%s: %d bytes left", what, len(got))
		}
		if f.Stats().Refusals[c.reason] == 0 {
			t.Errorf("%s: not counted as %s", what, c.reason)
		}
	}
}

// TestConnectLosesNoByte posts 13 MB through CONNECT, the first bytes in the packet of the request, and reads a response whose end is
// larger than any buffer when its server closes.
func TestConnectLosesNoByte(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"odd.example:8443", "allowed.example:443"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			host, port, _ := strings.Cut(at, ":")
			f.out.name(host, "203.0.113.1")
			sent := bytes.Repeat([]byte("0123456789abcde\n"), 13<<20/16)
			answer := bytes.Repeat([]byte("data: the tail of an event\n"), 100_000)
			first := []byte("hello")
			if port == "443" {
				first = clientHello(t, &tls.Config{ServerName: host})
			}
			sum := make(chan string, 1)
			f.server(t, "203.0.113.1:"+port, func(c *net.TCPConn) {
				digest := sha256.New()
				_, _ = io.Copy(digest, c) // until the client ends its writing side
				sum <- fmt.Sprintf("%x", digest.Sum(nil))
				_, _ = c.Write(answer)
			})
			res, from, conn := connect(t, f.proxy(t), at, string(first)+"early")
			if res.StatusCode != 200 {
				t.Fatalf("got %d", res.StatusCode)
			}
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(from)
			if err != nil || !bytes.Equal(got, answer) {
				t.Errorf("got %d bytes, %v, want %d: the response after a half-close", len(got), err, len(answer))
			}
			want := fmt.Sprintf("%x", sha256.Sum256(append(append(first, "early"...), sent...)))
			if s := <-sum; s != want {
				t.Error("the target has received other bytes than were sent")
			}
		})
	}
}

// TestTailArrivesWhileTheClientSends: the target has said everything, and reads no more of what its client sends.
func TestTailArrivesWhileTheClientSends(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("odd.example", "203.0.113.1")
	answer := bytes.Repeat([]byte("x"), 3<<20)
	read := make(chan struct{})
	f.server(t, "203.0.113.1:8443", func(c *net.TCPConn) {
		_, _ = c.Write(answer)
		_ = c.CloseWrite()
		<-read
	})
	defer close(read)
	_, from, conn := connect(t, f.proxy(t), "odd.example:8443", "")
	go func() {
		for {
			if _, err := conn.Write(make([]byte, 1<<14)); err != nil {
				return
			}
		}
	}()
	if got, err := io.ReadAll(from); err != nil || len(got) != len(answer) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(answer))
	}
}

func TestConnectToAPrivateTargetThatIsAllowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.caller("one", here, session.EgressListed, "10.1.2.0/24:5432", "db.example:5432")
	f.out.name("db.example", "10.1.2.7")
	f.server(t, "10.1.2.7:5432", func(c *net.TCPConn) { _, _ = io.WriteString(c, "ready") })
	proxy := f.proxy(t)
	for _, at := range []string{"10.1.2.7:5432", "db.example:5432"} {
		res, from, _ := connect(t, proxy, at, "")
		if got, _ := io.ReadAll(from); res.StatusCode != 200 || string(got) != "ready" {
			t.Errorf("%s: got %d %q", at, res.StatusCode, got)
		}
	}
	if res, _, _ := connect(t, proxy, "10.1.3.7:5432", ""); res.StatusCode != 403 {
		t.Errorf("a neighbour: got %d, want 403", res.StatusCode)
	}
}
