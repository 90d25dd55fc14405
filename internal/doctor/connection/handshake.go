package connection

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"berth/internal/pki"
)

const guardLog = "the log of what listens there (journalctl -u docker, or berth guard's)"

// handshake does the TLS handshake without verifying the engine's certificate, so that the next steps can say what is wrong with it.
func (r *run) handshake(ctx context.Context) Step {
	begin := time.Now()
	conn, err := r.shake(ctx, r.config(tls.VersionTLS13))
	if err == nil {
		defer conn.Close()
		state := conn.ConnectionState()
		r.report.Latency.HandshakeMS = milliseconds(time.Since(begin))
		r.saw(state)
		return pass("%s, %s", r.report.TLSVersion, r.report.Cipher)
	}
	switch {
	case errors.As(err, new(tls.RecordHeaderError)):
		return fail("not-tls", "point DOCKER_HOST to the engine's TLS port (2376 by custom). If this is the engine, its port is open without any "+
			"authentication: take tcp:// out of its hosts, or start it with --tlsverify",
			"the server at %s does not use TLS", r.address)
	case isTimeout(err):
		return fail(HandshakeTimeout, "see that port "+r.port+" is the engine's, and that nothing in between (proxy, load balancer) holds the connection",
			"%s accepts connections, but does not answer the TLS handshake within %s", r.address, r.Timeout)
	}
	// No error value distinguishes an old server from any other refusal, so it is offered the older versions.
	old := r.config(tls.VersionTLS10)
	old.MaxVersion = tls.VersionTLS12
	if conn, err := r.shake(ctx, old); err == nil {
		r.saw(conn.ConnectionState())
		conn.Close()
	}
	switch {
	case r.version != 0 && r.version < tls.VersionTLS13:
		return fail("tls-too-old", "put berth guard in front of the engine, or upgrade what terminates TLS there",
			"%s supports %s at most; Berth requires TLS 1.3", r.address, r.report.TLSVersion)
	case alerted(err):
		return fail("handshake-refused", "see "+guardLog+" for the reason", "%s refuses the handshake: %v", r.address, errors.Unwrap(err))
	default:
		return fail(HandshakeClosed, "see that port "+r.port+" is the engine's TLS port, and "+guardLog,
			"%s ended the connection during the handshake (%v)", r.address, err)
	}
}

// config is for handshakes that only examine; no request is sent over them before the certificate was verified.
func (r *run) config(minimum uint16) *tls.Config {
	return &tls.Config{
		MinVersion:         minimum,
		ServerName:         r.name,
		InsecureSkipVerify: true, //nolint:gosec // the next steps judge the certificate, each part by itself
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &r.own.pair, nil // empty when there is none
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			r.saw(state)
			return nil
		},
	}
}

// saw keeps what a handshake showed, also of one that fails later.
func (r *run) saw(state tls.ConnectionState) {
	r.version = state.Version
	r.report.TLSVersion, r.report.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	r.server = state.PeerCertificates
	if len(r.server) > 0 {
		r.report.Server = describe(r.server[0], r.Now())
	}
}

func (r *run) shake(ctx context.Context, config *tls.Config) (*tls.Conn, error) {
	plain, err := r.dial(ctx, r.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

// alerted reports whether the other side ended the connection with a TLS alert.
func alerted(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// standard is the configuration of daily use: everything is verified.
func (r *run) standard() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: r.name,
		RootCAs:    pki.PoolOf(r.own.authorities),
		Time:       r.Now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &r.own.pair, nil
		},
	}
}

const maxFirstBody = 64 << 10

// answer is one to a first request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask does the handshake and sends the first request of a connection. With TLS 1.3 it is only the answer to it that shows
// whether the engine accepts the client's certificate.
func (r *run) ask(ctx context.Context, config *tls.Config) (got answer, err error) {
	for range attempts {
		// A refusal can be overtaken by the end of its connection.
		if got, err = r.askOnce(ctx, config); !ended(err) {
			break
		}
	}
	return got, err
}

func (r *run) askOnce(ctx context.Context, config *tls.Config) (answer, error) {
	conn, err := r.shake(ctx, config)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url("/_ping"), nil)
	if err != nil {
		return answer{}, err
	}
	req.Close = true
	writeErr := req.Write(conn)
	// A connection that was refused may fail to take the request while the reason for it waits to be read.
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		if !alerted(err) && writeErr != nil {
			err = writeErr
		}
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFirstBody))
	return answer{status: resp.StatusCode, header: resp.Header, body: bytes.TrimSpace(body)}, err
}

// verification is the part of err that says what is wrong with the engine's certificate; nil if nothing does.
func verification(err error) error {
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return unverified.Err
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return invalid
	}
	return nil
}
