package servertls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"berth/internal/pki"
)

// Issuer obtains certificates for hosts that no pair of files is for.
type Issuer interface {
	// Get returns the certificate for a handshake; nil: the host is none of its hosts.
	Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Covers reports whether a host is one of its hosts, also before there is a certificate.
	Covers(host string) bool
	// Leaves are the certificates that there are.
	Leaves() []*x509.Certificate
	// Protocol is the ALPN name of a challenge that Get answers.
	Protocol() string
}

var errNoCertificate = errors.New("no certificate for this host")

// issued returns the issuer's certificate for a handshake, or the one for clients on this machine.
func (c *Certificates) issued(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair, err := c.Issuer.Get(hello)
	switch {
	case pair != nil || err != nil:
		return pair, err
	case c.local != nil && isLocal(hello.ServerName):
		return c.local, nil
	}
	return nil, errNoCertificate
}

// isChallenge reports whether a handshake only asks for the answer to a challenge.
func (c *Certificates) isChallenge(hello *tls.ClientHelloInfo) bool {
	return c.Issuer != nil && slices.Equal(hello.SupportedProtos, []string{c.Issuer.Protocol()})
}

// isLocal reports whether a client that asks for a name is on this machine: clients that connect to an address ask for none.
func isLocal(name string) bool {
	return name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// newLocal makes a certificate for clients on this machine, which are told to trust it ([Certificates.Published]): those that an
// issuer obtains are for other names, and come later.
func newLocal(now time.Time) (*tls.Certificate, error) {
	req := pki.Request{CommonName: "Berth on this machine", Now: now, Days: 10 * 365}
	authority, err := pki.NewAuthority(req)
	if err != nil {
		return nil, err
	}
	req.DNSNames, req.IPs = []string{"localhost", "*.localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	made, err := authority.IssueServer(req)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{made.Certificate.Raw}, PrivateKey: made.Signer(), Leaf: made.Certificate}, nil
}

// Published are the certificates that clients on this machine are shown: those of files, or else one that was made for them.
func (c *Certificates) Published() []*x509.Certificate {
	if c.local != nil {
		return []*x509.Certificate{c.local.Leaf}
	}
	return c.fileLeaves()
}
