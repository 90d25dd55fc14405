package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// ServerOptions refine OpenServer; the zero value is usable.
type ServerOptions struct {
	// Reloaded is called after every attempt to read changed files: with nil when they are in use now, else with the reason why
	// the earlier ones stay in use.
	// It runs within a handshake or a call of Admits, so it must not block.
	Reloaded func(error)
	// Strict refuses to open files that other users than their owner can change, and keys that every user can read. Without it
	// that is a warning.
	Strict bool
	Now    func() time.Time // nil means time.Now
}

// Server is the end that admits clients. It reloads its files when they change: the pair, the authorities, and the revocation list
// crl.pem beside them.
type Server struct{ w *watched }

// OpenServer reads the files of a server that admits only clients with a certificate of an authority in paths.CA. A fault
// is a FileError, also one of the revocation list, and one that is not there although its authority promises it or the records
// know of it. Later, files that cannot be used are reported and the earlier ones stay; a
// revocation list stays also when its successor is older, and as long as its authority is trusted.
func OpenServer(paths Paths, opts ServerOptions) (*Server, []Warning, error) {
	w, warnings, err := newWatched(paths, x509.ExtKeyUsageServerAuth, opts.Strict, opts.Now, opts.Reloaded)
	if err != nil {
		return nil, nil, err
	}
	return &Server{w: w}, warnings, nil
}

// LoadServerTLS is OpenServer for callers that need only the TLS configuration.
func LoadServerTLS(paths Paths, opts ServerOptions) (*tls.Config, []Warning, error) {
	s, warnings, err := OpenServer(paths, opts)
	if err != nil {
		return nil, nil, err
	}
	return s.TLS(), warnings, nil
}

// TLS is the configuration of the listener: TLS 1.3, HTTP/1.1, no session tickets, so that every connection shows its
// certificate. Each handshake uses the files as they are on disk.
func (s *Server) TLS() *tls.Config {
	config := s.config(s.w.get())
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return s.config(s.w.get()), nil
	}
	return config
}

func (s *Server) config(f files) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{f.pair},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              f.pool,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true,
		Time:                   s.w.now,
		VerifyConnection: func(state tls.ConnectionState) error {
			return f.revoked.check(state.VerifiedChains)
		},
	}
}

// Admits checks the certificates that a client has presented, the leaf first: nil, or ErrExpired, ErrRevoked
// or ErrUntrusted, by the files as they were within the last quarter of a second. It is cheap: ask for every request.
func (s *Server) Admits(presented []*x509.Certificate) error {
	if len(presented) == 0 {
		return errors.New("no certificate was presented")
	}
	f, _ := s.w.look(checkInterval)
	return f.admits(presented, x509.ExtKeyUsageClientAuth, s.w.now())
}

// Watch checks the files until ctx ends, so that a change, or a fault in it, is reported also without connections.
func (s *Server) Watch(ctx context.Context) { s.w.watch(ctx, func() {}) }

// Expiries returns the expiry of our own certificate and then of the trusted authorities.
func (s *Server) Expiries() []Expiry {
	f, _ := s.w.look(checkInterval)
	return expiries(f, KindServer, s.w.now())
}
