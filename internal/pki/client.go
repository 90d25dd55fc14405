package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"

	"berth/internal/pin"
)

// ClientOptions refine OpenClient; only ServerName must be set, unless NoVerify is.
type ClientOptions struct {
	// ServerName is the name or address that the server's certificate must carry. Empty means the host name that TLS was
	// asked for, which TLS does not report for an address: connections to one are refused then.
	ServerName string
	// Pins are public keys of which the server, or the authority that signed its certificate, must have one; none: any.
	Pins []pin.Pin
	// NoVerify accepts any server with any certificate. Pins are checked even so, against the server's own certificate.
	NoVerify bool
	// Reloaded is called after every attempt to read changed files, as in ServerOptions.
	Reloaded func(error)
	Strict   bool             // as in ServerOptions
	Now      func() time.Time // nil means time.Now
}

// Client is the end that connects to an engine. It reloads its files when they change: the pair, the authorities, and the
// revocation list crl.pem beside them, if there is one.
type Client struct {
	w      *watched
	opts   ClientOptions
	engine atomic.Pointer[x509.Certificate]
}

// OpenClient reads the files of an engine client. A fault is a FileError that names the file and says what to do. Later,
// unusable files are reported and the earlier ones stay in use.
func OpenClient(paths Paths, opts ClientOptions) (*Client, []Warning, error) {
	w, warnings, err := newWatched(paths, x509.ExtKeyUsageClientAuth, opts.Strict, opts.Now, opts.Reloaded)
	if err != nil {
		return nil, nil, err
	}
	return &Client{w: w, opts: opts}, warnings, nil
}

// LoadClientTLS is OpenClient for callers that need only the TLS configuration.
func LoadClientTLS(paths Paths, opts ClientOptions) (*tls.Config, []Warning, error) {
	c, warnings, err := OpenClient(paths, opts)
	if err != nil {
		return nil, nil, err
	}
	return c.TLS(), warnings, nil
}

// TLS is the configuration of connections to the engine: TLS 1.3 and the files as they are at each handshake.
//
// crypto/tls would check servers against the authorities at the time when the configuration was made, so its check is switched
// off, and VerifyConnection does the whole check in every handshake, also a resumed one: chain, name, usage, time, revocation
// and pins. A copy of the configuration must keep it.
func (c *Client) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         c.opts.ServerName,
		Time:               c.w.now,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks all that this leaves out, and more
		VerifyConnection:   c.verify,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair := c.w.get().pair
			return &pair, nil
		},
	}
}

// verify is the whole check of a server. Its failures are *tls.CertificateVerificationError, as those of crypto/tls are.
func (c *Client) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return &tls.CertificateVerificationError{Err: errors.New("the server presented no certificate")}
	}
	f := c.w.get()
	now := c.w.now()
	err := c.verifyAt(f, state, now)
	leaf := state.PeerCertificates[0]
	if err == nil || isReason(err, x509.Expired) && c.verifyAt(f, state, leaf.NotAfter) == nil {
		// It is the engine's certificate: Expiries reports its expiry.
		c.engine.Store(leaf)
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

func (c *Client) verifyAt(f files, state tls.ConnectionState, now time.Time) error {
	if c.opts.NoVerify {
		return checkPins(state.PeerCertificates[:1], c.opts.Pins)
	}
	host := c.opts.ServerName
	if host == "" {
		host = state.ServerName
	}
	if host == "" {
		return errors.New("there is no name to check the server's certificate against")
	}
	chains, err := check{pool: f.pool, usage: x509.ExtKeyUsageServerAuth, host: host, now: now}.chains(state.PeerCertificates)
	if err != nil {
		return err
	}
	if err := f.revoked.check(chains); err != nil {
		return err
	}
	var verified []*x509.Certificate
	for _, chain := range chains {
		verified = append(verified, chain...)
	}
	return checkPins(verified, c.opts.Pins)
}

// Watch checks the files until ctx ends and calls changed after each reload, whether Watch or a handshake noticed the change.
// Older connections should then be replaced.
func (c *Client) Watch(ctx context.Context, changed func()) { c.w.watch(ctx, changed) }

// Expiries returns the expiry of the certificate that the engine has loaded, as the last handshake showed it, then of our own,
// then of the trusted authorities. Before the first handshake there is none of the engine.
func (c *Client) Expiries() []Expiry {
	f, _ := c.w.look(checkInterval)
	all := expiries(f, KindClient, c.w.now())
	if leaf := c.engine.Load(); leaf != nil {
		all = append([]Expiry{ExpiryOf(leaf, c.w.now())}, all...)
	}
	return all
}
