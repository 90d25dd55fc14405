package pki

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// ServerOptions refine LoadServerTLS; the zero value is usable.
type ServerOptions struct {
	// Reloaded is told of every attempt to read changed files: nil when they are in use now, else why the earlier ones stay.
	// It runs within a handshake, so it must not block.
	Reloaded func(error)
	Now      func() time.Time // nil means time.Now
}

// LoadServerTLS makes the TLS configuration of a server that admits only clients with a certificate of the authority in
// paths.CA: TLS 1.3, HTTP/1.1, no session tickets, so that every connection shows its certificate anew. Each handshake uses
// the files as they are on disk, looked at once a second at most; files that cannot be used are reported and the earlier
// ones stay. A fault at the start is a FileError.
func LoadServerTLS(paths Paths, opts ServerOptions) (*tls.Config, []Warning, error) {
	w, warnings, err := newWatched(paths, x509.ExtKeyUsageServerAuth, opts.Now, opts.Reloaded)
	if err != nil {
		return nil, nil, err
	}
	config := serverConfig(w.current, opts.Now)
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return serverConfig(w.get(), opts.Now), nil
	}
	return config, warnings, nil
}

func serverConfig(f files, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{f.pair},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              f.pool,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true,
		Time:                   now,
	}
}
