package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"berth/internal/guard"
	"berth/internal/pki"
)

// askTimeout bounds a look at the engine: it is an extra, not the command's purpose.
const askTimeout = 3 * time.Second

// serverObservation is what an engine or guard shows of the certificates in use.
type serverObservation struct {
	server     *x509.Certificate // that it presents; nil if it cannot be reached
	serverErr  error
	clients    []guard.Client // of open connections
	clientsErr error          // why nothing is known of them
}

// observeServer looks at what listens at an address, as the client of dir.
func observeServer(ctx context.Context, address, dir string) serverObservation {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	engine, err := url.Parse(address)
	if err != nil || engine.Scheme != "tcp" || engine.Hostname() == "" {
		err := fmt.Errorf("%s is no TLS address", address)
		return serverObservation{serverErr: err, clientsErr: err}
	}
	target := net.JoinHostPort(engine.Hostname(), cmp.Or(engine.Port(), "2376"))
	own, _, err := pki.LoadClientTLS(pki.ClientPaths(dir, pki.Paths{}), pki.ClientOptions{ServerName: engine.Hostname()})
	var s serverObservation
	s.server, s.serverErr = presentedAt(ctx, target, own)
	if err != nil {
		s.clientsErr = err
		return s
	}
	s.clients, s.clientsErr = clientsAt(ctx, target, own)
	return s
}

// presentedAt answers the certificate that a server presents, whether or not it is one to trust.
func presentedAt(ctx context.Context, target string, own *tls.Config) (*x509.Certificate, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // this looks at a certificate and sends nothing
	}
	if own != nil {
		config.GetClientCertificate = own.GetClientCertificate
	}
	var presented *x509.Certificate
	config.VerifyConnection = func(state tls.ConnectionState) error {
		presented = state.PeerCertificates[0]
		return nil
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", target)
	if err == nil {
		_ = conn.Close()
	}
	if presented != nil {
		return presented, nil
	}
	return nil, err
}

// clientsAt asks a guard which client certificates open connections have shown.
func clientsAt(ctx context.Context, target string, own *tls.Config) ([]guard.Client, error) {
	transport := &http.Transport{TLSClientConfig: own, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+target+guard.ClientsPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("what listens there is no guard, so it cannot say which clients are connected")
	}
	var answer guard.Clients
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("read the guard's clients: %w", err)
	}
	return answer.Clients, nil
}
