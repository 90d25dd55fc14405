package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/pin"
)

// serverOf presents a certificate of an authority to any client.
func serverOf(t *testing.T, sign func(Request) (Pair, error), req Request) *tls.Config {
	t.Helper()
	pair, err := sign(req)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{pair.Certificate.Raw}, PrivateKey: pair.Signer()}}}
}

func authorityOf(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := openDirectory(dir, nil).signer("")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestServersAreVerified checks that our own verification refuses what crypto/tls would.
func TestServersAreVerified(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	ca, other := authorityOf(t, dir), authorityOf(t, initialized(t, InitOptions{}))
	now := time.Now()
	local := Request{CommonName: "s", DNSNames: []string{"localhost"}, IPs: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP("::1")}, Now: now, Days: 5}
	past, future := local, local
	past.Now, past.Days = now.AddDate(0, 0, -10), 5
	future.Now = now.AddDate(0, 0, 2)
	named, numbered := local, local
	named.IPs, numbered.DNSNames = nil, nil
	nameless := local
	nameless.CommonName, nameless.DNSNames, nameless.IPs = "localhost", nil, nil
	for _, tt := range []struct {
		name   string
		server *tls.Config
		host   string
		want   func(error) bool // nil: a handshake
	}{
		{"name", serverOf(t, ca.IssueServer, local), "localhost", nil},
		{"address", serverOf(t, ca.IssueServer, local), "127.0.0.1", nil},
		{"IPv6 address", serverOf(t, ca.IssueServer, local), "::1", nil},
		{"another name", serverOf(t, ca.IssueServer, local), "engine.example", isA[x509.HostnameError]},
		{"another address", serverOf(t, ca.IssueServer, local), "192.0.2.1", isA[x509.HostnameError]},
		{"an address is no name", serverOf(t, ca.IssueServer, named), "127.0.0.1", isA[x509.HostnameError]},
		{"a name is no address", serverOf(t, ca.IssueServer, numbered), "localhost", isA[x509.HostnameError]},
		{"only a common name", serverOf(t, ca.IssueClient, nameless), "localhost", func(err error) bool { return err != nil }},
		{"another authority", serverOf(t, other.IssueServer, local), "localhost", isA[x509.UnknownAuthorityError]},
		{"expired", serverOf(t, ca.IssueServer, past), "localhost", func(err error) bool { return isReason(err, x509.Expired) }},
		{"not valid yet", serverOf(t, ca.IssueServer, future), "localhost", func(err error) bool { return isReason(err, x509.Expired) }},
		{"a client's certificate", serverOf(t, clientsWithNames(ca), local), "localhost", func(err error) bool { return isReason(err, x509.IncompatibleUsage) }},
		{"nothing to check against", serverOf(t, ca.IssueServer, local), "", func(err error) bool { return err != nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{ServerName: tt.host})
			if err != nil {
				t.Fatal(err)
			}
			if tt.host == "" {
				// As net/http does for a host that is an address.
				client.ServerName = "127.0.0.1"
			}
			_, got := handshake(t, tt.server, client)
			if tt.want == nil {
				if got != nil {
					t.Fatalf("refused: %v", got)
				}
				return
			}
			if !tt.want(got) || !isA[*tls.CertificateVerificationError](got) {
				t.Errorf("got %v (%T), want a refusal of this kind", got, got)
			}
		})
	}
}

// clientsWithNames issues client certificates with the names of a server: only their usage is wrong.
func clientsWithNames(ca *Authority) func(Request) (Pair, error) {
	return func(req Request) (Pair, error) {
		made, err := template(req)
		if err != nil {
			return Pair{}, err
		}
		made.DNSNames, made.IPAddresses, made.ExtKeyUsage = req.DNSNames, req.IPs, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		return ca.issue(made, req.KeyType)
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestServerNameOfDialIsVerified(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	for host, want := range map[string]bool{"localhost": true, "elsewhere.example": false} {
		client, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		client.ServerName = host
		if got := works(t, serverTLS(t, dir), client); got != want {
			t.Errorf("dialled as %s: handshake %v, want %v", host, got, want)
		}
	}
}

// A resumed handshake does not present the certificate again; the whole check must run too.
func TestResumedHandshakesAreVerified(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	server := serverOf(t, authorityOf(t, dir).IssueServer, Request{CommonName: "s", DNSNames: []string{"localhost"}, Now: time.Now(), Days: 5})
	cache := tls.NewLRUClientSessionCache(1)
	connect := func(opts ClientOptions) (resumed bool, err error) {
		opts.ServerName = "localhost"
		client, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), opts)
		if err != nil {
			t.Fatal(err)
		}
		client.ClientSessionCache = cache
		verify := client.VerifyConnection
		client.VerifyConnection = func(state tls.ConnectionState) error {
			resumed = state.DidResume
			return verify(state)
		}
		_, err = handshake(t, server, client)
		return resumed, err
	}
	if _, err := connect(ClientOptions{}); err != nil {
		t.Fatal(err)
	}
	if resumed, err := connect(ClientOptions{}); !resumed || err != nil {
		t.Fatalf("second handshake: resumed %v, %v; want a resumed one", resumed, err)
	}
	if resumed, err := connect(ClientOptions{Pins: []pin.Pin{{}}}); !resumed || !errors.Is(err, ErrPin) {
		t.Errorf("resumed %v, %v; want a resumed handshake that is refused for its pin", resumed, err)
	}
	if _, err := connect(ClientOptions{Now: func() time.Time { return time.Now().AddDate(0, 0, 6) }}); err == nil {
		t.Error("a resumed handshake with an expired certificate was accepted")
	}
}

func TestPinsAreChecked(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	leaf, ca := described(t, filepath.Join(dir, ServerCertFile)).Pin, described(t, filepath.Join(dir, CACertFile)).Pin
	other := described(t, filepath.Join(dir, ClientCertFile)).Pin
	foreign := initialized(t, InitOptions{})
	foreignPin := described(t, filepath.Join(foreign, ServerCertFile)).Pin
	for _, tt := range []struct {
		name, pins, server, host string
		noVerify, want           bool
	}{
		{"none", "", dir, "localhost", false, true},
		{"the leaf's", leaf, dir, "localhost", false, true},
		{"the authority's", ca, dir, "localhost", false, true},
		{"one of several", other + ", " + strings.TrimPrefix(leaf, pin.Prefix), dir, "localhost", false, true},
		{"another", other, dir, "localhost", false, false},
		{"right pin, wrong authority", foreignPin, foreign, "localhost", false, false},
		{"right pin, wrong name", leaf, dir, "elsewhere.example", false, false},
		{"unverified, right pin", foreignPin, foreign, "elsewhere.example", true, true},
		{"unverified, wrong pin", leaf, foreign, "localhost", true, false},
		{"unverified, no pin", "", foreign, "elsewhere.example", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pins, err := pin.ParseList(tt.pins)
			if err != nil {
				t.Fatal(err)
			}
			client, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{ServerName: tt.host, Pins: pins, NoVerify: tt.noVerify})
			if err != nil {
				t.Fatal(err)
			}
			server := serverTLS(t, tt.server)
			server.GetConfigForClient, server.ClientAuth, server.VerifyConnection = nil, tls.RequestClientCert, nil
			if _, err := handshake(t, server, client); (err == nil) != tt.want {
				t.Errorf("got %v, want admitted: %v", err, tt.want)
			}
		})
	}
}

func TestPinStaysWithTheKey(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	path := filepath.Join(dir, ServerCertFile)
	before := described(t, path)
	for keep, same := range map[bool]bool{true: true, false: false} {
		if _, err := Renew(dir, RenewOptions{Force: true, KeepKey: keep}); err != nil {
			t.Fatal(err)
		}
		if after := described(t, path); (after.Pin == before.Pin) != same {
			t.Errorf("keep key %v: pin %s, was %s", keep, after.Pin, before.Pin)
		}
		before = described(t, path)
	}
}
