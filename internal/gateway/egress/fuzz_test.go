package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var errSeen = errors.New("seen")

// serversView is the server name that crypto/tls reads from the bytes of a client; ok: it accepts the ClientHello.
func serversView(raw []byte) (name string, ok bool) {
	config := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, ok = h.ServerName, true
		return nil, errSeen
	}}
	_ = tls.Server(&playback{Reader: bytes.NewReader(raw)}, config).HandshakeContext(context.Background())
	return name, ok
}

// playback is a connection of which the other side has sent something, and reads nothing.
type playback struct{ io.Reader }

func (*playback) Write(p []byte) (int, error)      { return len(p), nil }
func (*playback) Close() error                     { return nil }
func (*playback) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*playback) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*playback) SetDeadline(time.Time) error      { return nil }
func (*playback) SetReadDeadline(time.Time) error  { return nil }
func (*playback) SetWriteDeadline(time.Time) error { return nil }

// FuzzClientHello: a name that is judged is the one that a server reads, in whatever records it comes.
func FuzzClientHello(f *testing.F) {
	valid := clientHello(f, &tls.Config{ServerName: "allowed.example"})
	f.Add(valid, 7)
	f.Add(clientHello(f, &tls.Config{InsecureSkipVerify: true}), 100)
	f.Add(withExtension(valid, extensionECH, []byte{0}), 1)
	f.Add(withExtension(valid, 0x0a0a, nil), 3)
	f.Add(withExtension(valid, extensionName, []byte{0, 4, 0, 0, 1, 'a'}), 3)
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		read, message, err := readHello(bytes.NewReader(raw))
		if len(read) > len(raw) || len(read) > maxHello+recordHeader || !bytes.HasPrefix(raw, read) {
			t.Fatalf("read %d bytes of %d, or others", len(read), len(raw))
		}
		if err != nil {
			return
		}
		h, err := parseHello(message)
		_, again, err2 := readHello(bytes.NewReader(resize(read, 1+(size&0x3fff))))
		if len(message)*(recordHeader+1) < maxHello && (err2 != nil || !bytes.Equal(message, again)) {
			t.Fatalf("in records of another size: %v", err2)
		}
		if err != nil {
			return
		}
		if name, ok := serversView(read); ok && name != h.name {
			t.Fatalf("judged %q, a server reads %q", h.name, name)
		}
	})
}

// FuzzTarget: what is accepted has one reading, which its text has too.
func FuzzTarget(f *testing.F) {
	for _, text := range []string{"allowed.example:443", "[fd00::1]:80", "10.1.2.3:5432", "[[a.b]]:1", "a.b.:1", "127.1:80", "xn--a.b:1", "A.B:65535"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTarget(text)
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Fatalf("the error repeats what was sent: %q", err)
			}
			return
		}
		again, err := ParseTarget(got.String())
		if err != nil || again != got || !strings.EqualFold(got.String(), text) && got.Name != "" {
			t.Fatalf("%q is %v, which is read as %v, %v", text, got, again, err)
		}
		if got.Name != "" && (net.ParseIP(got.Name) != nil || strings.HasSuffix(got.Name, ".") || got.Name != strings.ToLower(got.Name)) {
			t.Fatalf("%q is the name %q", text, got.Name)
		}
	})
}

// FuzzRule: a rule's text is read as the same rule, and matches no name outside of its own.
func FuzzRule(f *testing.F) {
	for _, c := range [][2]string{{"*.example.com", "a.example.com"}, {"Example.com:443", "example.com"}, {"10.0.0.0/8:1", "a.b"}, {"bücher.example", "xn--bcher-kva.example"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q is %s, which is read as %s, %v", text, r, again, err)
		}
		canonical, err := parseName(name)
		if err != nil {
			return
		}
		if r.matchesHost(Target{Name: canonical}) {
			if own := strings.TrimPrefix(r.String(), "*"); !strings.HasSuffix(canonical, strings.Split(own, ":")[0]) {
				t.Fatalf("%s matches %s", r, canonical)
			}
		}
	})
}

// FuzzQuery: no name that is not allowed has an address, and every answer is well formed and small.
func FuzzQuery(f *testing.F) {
	for _, name := range []string{"allowed.example.", "x.evil.test.", "a.wild.example.", "allowed.example\\.evil.test."} {
		q, err := new(dns.Msg).SetQuestion(name, dns.TypeA).SetEdns0(4096, true).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(q)
	}
	relay := &Relay{opts: Options{Address: gatewayAddress}}
	relay.policy.Store(newPolicy(f, nil))
	caller := listed("allowed.example", "*.wild.example")
	f.Fuzz(func(t *testing.T, text []byte) {
		q := new(dns.Msg)
		if q.Unpack(text) != nil {
			return
		}
		a, _ := relay.answer(caller, q)
		packed, err := a.Pack()
		if err != nil || len(packed) > 512 || new(dns.Msg).Unpack(packed) != nil {
			t.Fatalf("answer of %d bytes: %v", len(packed), err)
		}
		for _, rr := range a.Answer {
			name := strings.ToLower(rr.Header().Name)
			if name != "allowed.example." && !strings.HasSuffix(name, ".wild.example.") {
				t.Fatalf("%q has an address", name)
			}
		}
	})
}

// FuzzPlainHeader: a header that is let through is one that net/http reads with the same host and body, and nothing of it is lost.
func FuzzPlainHeader(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
	f.Add([]byte("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		end := headerEnd(text)
		if end == 0 {
			return
		}
		body, fault := inspect(text[:end])
		if fault != "" {
			return
		}
		from := bytes.NewReader(text)
		req, err := http.ReadRequest(bufio.NewReader(from))
		if err != nil {
			return // the server refuses it
		}
		if body >= 0 && req.ContentLength != body && len(req.TransferEncoding) == 0 {
			t.Fatalf("a body of %d bytes, a server reads %d", body, req.ContentLength)
		}
		if len(req.TransferEncoding) > 0 && body != unbounded {
			t.Fatalf("a chunked body counts as %d bytes", body)
		}
	})
}
