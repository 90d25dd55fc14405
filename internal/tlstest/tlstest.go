// Package tlstest gives tests the certificates of a listener, signed by an authority of the test's own.
package tlstest

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"berth/internal/atomicfile"
	"berth/internal/pki"
)

// Authority signs certificates. Its pool has it alone.
type Authority struct {
	*pki.Authority
	Pool *x509.CertPool
}

// New makes an authority.
func New(t testing.TB) *Authority {
	t.Helper()
	a, err := pki.NewAuthority(pki.Request{CommonName: "authority of a test", Now: time.Now(), Days: 400})
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{a, pki.PoolOf([]*x509.Certificate{a.Certificate})}
}

// Issue makes a certificate for names and addresses that began at a time and lives for some days.
func (a *Authority) Issue(t testing.TB, began time.Time, days int, hosts ...string) pki.Pair {
	t.Helper()
	req := pki.Request{CommonName: hosts[0], Now: began, Days: days}
	for _, host := range hosts {
		if ip, err := netip.ParseAddr(host); err == nil {
			req.IPs = append(req.IPs, ip.AsSlice())
		} else {
			req.DNSNames = append(req.DNSNames, host)
		}
	}
	pair, err := a.IssueServer(req)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// Write writes a pair as two files, each at once, and returns their paths.
func Write(t testing.TB, dir, name string, pair pki.Pair) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	secret, err := pair.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(cert, pair.CertPEM(), 0o444, ""); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(key, secret, 0o400, ""); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// Files writes a new pair that is valid for 90 days.
func (a *Authority) Files(t testing.TB, hosts ...string) (cert, key string) {
	t.Helper()
	return Write(t, t.TempDir(), "server", a.Issue(t, time.Now(), 90, hosts...))
}

// Server is the configuration of a server with a pair for the hosts, offering the protocols.
func (a *Authority) Server(t testing.TB, hosts []string, protocols ...string) *tls.Config {
	t.Helper()
	pair := a.Issue(t, time.Now(), 90, hosts...)
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		Certificates: []tls.Certificate{{Certificate: [][]byte{pair.Certificate.Raw}, PrivateKey: pair.Signer(), Leaf: pair.Certificate}},
	}
}

// Client is the configuration of a client that trusts the authority, and verifies the name.
func (a *Authority) Client(name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.Pool, ServerName: name}
}
