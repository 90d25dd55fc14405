package pki

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// ClientOptions refine LoadClientTLS; the zero value is usable.
type ClientOptions struct {
	// ServerName is the name that the server's certificate must carry; empty means the host that is dialled.
	ServerName string
	// Reloaded is told of every attempt to read changed files, as in ServerOptions.
	Reloaded func(error)
	Now      func() time.Time // nil means time.Now
}

// LoadClientTLS makes the TLS configuration of an engine client: TLS 1.3, the server's certificate checked against the
// authorities in paths.CA and the name. The own certificate is read again when its files change; the authorities are those
// of the start, so an authority file that will change shall hold the old and the new one before the server's changes.
// A fault is a FileError that names the file and says what to do.
func LoadClientTLS(paths Paths, opts ClientOptions) (*tls.Config, []Warning, error) {
	w, warnings, err := newWatched(paths, x509.ExtKeyUsageClientAuth, opts.Now, opts.Reloaded)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    w.current.pool,
		ServerName: opts.ServerName,
		Time:       opts.Now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair := w.get().pair
			return &pair, nil
		},
	}
	return config, warnings, nil
}
