package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"berth/internal/engineaddr"
	"berth/internal/guard"
	"berth/internal/pki"
)

// observeTimeout bounds the query of the engine, which is optional.
const observeTimeout = 3 * time.Second

// serverObservation is the certificates in use, as an engine or guard shows them.
type serverObservation struct {
	server     *x509.Certificate // presented in the handshake; nil if it cannot be reached
	serverErr  error
	clients    []guard.Client // of open connections
	clientsErr error          // why they are not known
}

// observeServer queries the server at an address with the client certificate of dir.
func observeServer(ctx context.Context, address, dir string) serverObservation {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	engine, err := engineaddr.ParseTCP(address)
	if err != nil {
		err := fmt.Errorf("%s is no TLS address", address)
		return serverObservation{serverErr: err, clientsErr: err}
	}
	target := engine.HostPort(engineaddr.PortTLS)
	own, _, err := pki.LoadClientTLS(pki.ClientPaths(dir, pki.Paths{}), pki.ClientOptions{ServerName: engine.Host})
	var s serverObservation
	s.server, s.serverErr = presentedCertificate(ctx, target, own)
	if err != nil {
		s.clientsErr = err
		return s
	}
	s.clients, s.clientsErr = connectedClients(ctx, target, own)
	return s
}

// presentedCertificate returns the certificate that a server presents, trusted or not.
func presentedCertificate(ctx context.Context, target string, own *tls.Config) (*x509.Certificate, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // this reads the certificate and sends nothing
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

// connectedClients asks a guard for the client certificates of its open connections.
func connectedClients(ctx context.Context, target string, own *tls.Config) ([]guard.Client, error) {
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
		return nil, errors.New("the server is not a guard and does not list its clients")
	}
	var answer guard.Clients
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("read the guard's clients: %w", err)
	}
	return answer.Clients, nil
}
