package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/session"
	"berth/internal/waittest"
)

// clientHello is the ClientHello that crypto/tls sends for a configuration, as records.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, config).HandshakeContext(context.Background())
		client.Close()
	}()
	raw, _, err := readHello(server)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// resize writes the content of handshake records as records of at most size bytes.
func resize(raw []byte, size int) []byte {
	var content, out []byte
	for len(raw) >= recordHeader {
		n := int(raw[3])<<8 + int(raw[4])
		content, raw = append(content, raw[recordHeader:recordHeader+n]...), raw[recordHeader+n:]
	}
	for len(content) > 0 {
		n := min(size, len(content))
		out = append(append(out, recordHandshake, 3, 1, byte(n>>8), byte(n)), content[:n]...)
		content = content[n:]
	}
	return out
}

func TestTLSIsCarriedByServerName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cert, pool := certificate(t, "allowed.example", "a.wild.example")
	f.out.name("allowed.example", "203.0.113.1")
	f.out.name("a.wild.example", "203.0.113.1")
	f.web(t, "203.0.113.1:443", cert, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello "+r.TLS.ServerName) })
	address := run(t, f.ServeTLS)
	for _, name := range []string{"allowed.example", "a.wild.example", "ALLOWED.example"} {
		conn := tls.Client(dial(t, address), &tls.Config{ServerName: name, RootCAs: pool})
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Contains(bytes.ToLower(got), []byte("hello "+string(bytes.ToLower([]byte(name))))) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if s := f.Stats(); s.Connections != 3 || s.Sent == 0 || s.Received == 0 {
		t.Errorf("counters: got %+v", s)
	}
}

func TestTLSThatCannotBeJudgedIsRefusedWithAnAlert(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address := run(t, f.ServeTLS)
	valid := clientHello(t, &tls.Config{ServerName: "allowed.example"})
	for what, c := range map[string]struct {
		hello  []byte
		reason Reason
		alert  byte
	}{
		"a name that is not listed": {clientHello(t, &tls.Config{ServerName: "evil.example"}), ReasonNotListed, alertAccess},
		"a name on another port":    {clientHello(t, &tls.Config{ServerName: "odd.example"}), ReasonNotListed, alertAccess},
		"no name":                   {clientHello(t, &tls.Config{InsecureSkipVerify: true}), ReasonNoSNI, alertName},
		"a dot at the end":          {bytes.Replace(valid, []byte("allowed.example"), []byte("allowed.exampl."), 1), ReasonNoSNI, alertName},
		"a NUL":                     {bytes.Replace(valid, []byte("allowed.example"), []byte("allowed.\x00xample"), 1), ReasonNoSNI, alertName},
		"an address":                {bytes.Replace(valid, []byte("allowed.example"), []byte("203.000.113.001"), 1), ReasonNoSNI, alertName},
		"brackets":                  {bytes.Replace(valid, []byte("allowed.example"), []byte("[[allowed.exa]]"), 1), ReasonNoSNI, alertName},
		"ECH":                       {withExtension(valid, extensionECH, []byte{0, 0}), ReasonECH, alertAccess},
		"ESNI":                      {withExtension(valid, extensionESNI, []byte{0, 0}), ReasonECH, alertAccess},
		"plain HTTP":                {[]byte("GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n"), ReasonNotTLS, alertDecode},
		"SSH":                       {[]byte("SSH-2.0-OpenSSH_9.2\r\n"), ReasonNotTLS, alertDecode},
		"another handshake message": {[]byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, ReasonNotTLS, alertDecode},
	} {
		conn := dial(t, address)
		if _, err := conn.Write(c.hello); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, alert(c.alert)) {
			t.Errorf("%s: got %v, %v, want alert %d", what, got, err, c.alert)
		}
		if f.Stats().Refusals[c.reason] == 0 {
			t.Errorf("%s: not counted as %s", what, c.reason)
		}
	}
	f.nothingLeft(t, "TLS that is refused")
	if !f.reported(ReasonECH, "switch ECH off") || !f.reported(ReasonNotListed, "evil.example:443") {
		t.Errorf("refusals were not reported: %v", f.reports)
	}
}

// withExtension adds an extension to a ClientHello in one record.
func withExtension(raw []byte, number uint16, data []byte) []byte {
	message := bytes.Clone(raw[recordHeader:])
	at := messageHeader + 2 + 32
	at += 1 + int(message[at])
	at += 2 + int(message[at])<<8 + int(message[at+1])
	at += 1 + int(message[at])
	add := append([]byte{byte(number >> 8), byte(number), byte(len(data) >> 8), byte(len(data))}, data...)
	n := int(message[at])<<8 + int(message[at+1]) + len(add)
	message[at], message[at+1] = byte(n>>8), byte(n)
	message = append(message, add...)
	n = len(message) - messageHeader
	message[1], message[2], message[3] = byte(n>>16), byte(n>>8), byte(n)
	return append([]byte{recordHandshake, 3, 1, byte(len(message) >> 8), byte(len(message))}, message...)
}

func TestHelloIsReadAcrossRecords(t *testing.T) {
	t.Parallel()
	valid := clientHello(t, &tls.Config{ServerName: "allowed.example"})
	for _, size := range []int{1, 2, 3, 5, 7, 100, 1 << 14} {
		raw, message, err := readHello(bytes.NewReader(append(resize(valid, size), "more"...)))
		if err != nil {
			t.Fatalf("records of %d bytes: %v", size, err)
		}
		h, err := parseHello(message)
		if err != nil || h.name != "allowed.example" || !bytes.Equal(raw, resize(valid, size)) {
			t.Errorf("records of %d bytes: got %+v, %v, %d bytes of %d", size, h, err, len(raw), len(resize(valid, size)))
		}
	}
}

func TestMalformedHelloIsRefused(t *testing.T) {
	t.Parallel()
	valid := clientHello(t, &tls.Config{ServerName: "allowed.example"})
	twice := withExtension(valid, extensionName, []byte{0, 4, 0, 0, 1, 'a'})
	followed := append(bytes.Clone(valid), 0)
	followed[3], followed[4] = byte((len(followed)-recordHeader)>>8), byte(len(followed)-recordHeader)
	mixed := append(resize(valid, 20)[:2*25], append([]byte{21, 3, 3, 0, 2, 1, 0}, resize(valid, 20)[2*25:]...)...)
	empty := append([]byte{22, 3, 1, 0, 0}, valid...)
	huge := resize(append([]byte{22, 3, 1, 0, 4}, 1, 0xff, 0xff, 0xff), 4)
	for what, raw := range map[string][]byte{
		"a second server name extension": twice, "something after it in its record": followed, "an alert between its records": mixed,
		"an empty record": empty, "a length of 16 MB": huge, "SSL 2": {0x80, 0x2e, 1, 3, 1},
	} {
		_, message, err := readHello(bytes.NewReader(raw))
		if err == nil {
			_, err = parseHello(message)
		}
		if err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	if _, _, err := readHello(endless{}); err == nil || !errors.Is(err, errHello) {
		t.Errorf("records without an end: got %v", err)
	}
}

// endless is a ClientHello that never ends, in records of one byte.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	return copy(p, []byte{22, 3, 1, 0, 1, 1}[:min(len(p), 6)]), nil
}

func TestClientThatSendsNothingIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		client, server := net.Pipe()
		defer client.Close()
		st, _ := f.admit(t.Context(), f.callers[here])
		defer st.release()
		start := time.Now()
		f.relayTLS(st, &buffered{Conn: server}, Target{}, nil)
		if took := time.Since(start); took > handshakeTimeout+2*drainTimeout {
			t.Errorf("held for %s", took)
		}
	})
}

func TestUnknownAddressGetsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.gone(here)
	conn := dial(t, run(t, f.ServeTLS))
	_, _ = conn.Write(clientHello(t, &tls.Config{ServerName: "allowed.example"}))
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("got %q, want a closed connection", got)
	}
	waitReported(t, f, ReasonUnknownCaller, "127.0.0.1")
	f.nothingLeft(t, "an unknown address")
}

func TestConnectionsOfASessionAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Limits = Limits{PerSession: 2, Connections: 3} })
	one := f.callers[here]
	two := f.caller("two", netip.MustParseAddr("127.0.0.2"), session.EgressListed)
	a, _ := f.admit(t.Context(), one)
	_, _ = f.admit(t.Context(), one)
	if _, v := f.admit(t.Context(), one); v.Reason != ReasonLimit {
		t.Errorf("third connection: got %+v, want refused at the limit", v)
	}
	if _, v := f.admit(t.Context(), two); !v.Allowed {
		t.Errorf("another session: got %+v, want allowed", v)
	}
	if _, v := f.admit(t.Context(), two); v.Reason != ReasonLimit {
		t.Errorf("above the limit of all: got %+v, want refused", v)
	}
	a.release()
	if _, v := f.admit(t.Context(), one); !v.Allowed {
		t.Errorf("after one has ended: got %+v, want allowed", v)
	}
}

// open makes a TLS connection through the gateway to a server that answers nothing, and waits until it is carried.
func (f *fixture) open(t *testing.T) *net.TCPConn {
	t.Helper()
	f.out.name("allowed.example", "203.0.113.1")
	got := make(chan struct{}, 1)
	f.server(t, "203.0.113.1:443", func(c *net.TCPConn) {
		_, _, _ = readHello(c)
		got <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	conn := dial(t, run(t, f.ServeTLS))
	if _, err := conn.Write(clientHello(t, &tls.Config{ServerName: "allowed.example"})); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("the ClientHello did not arrive")
	}
	return conn
}

func TestStreamsEndWithTheirSessionOrList(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*fixture){
		"the session is closed":    func(f *fixture) { f.Close("one") },
		"the caller's right ended": func(f *fixture) { f.gone(here) },
		"the list has changed": func(f *fixture) {
			f.SetPolicy(newPolicy(t, map[string][]string{"ours": {"other.example"}}))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.caller("one", here, session.EgressListed, "ours")
			f.SetPolicy(newPolicy(t, map[string][]string{"ours": {"allowed.example"}}))
			conn := f.open(t)
			start := time.Now()
			end(f)
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("got a byte, want the end")
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("ended after %s, want a second at most", took)
			}
			waittest.True(t, "the stream is gone", func() bool { return f.Stats().Open == 0 })
		})
	}
}
