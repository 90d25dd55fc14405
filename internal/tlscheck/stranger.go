package tlscheck

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"
)

func (r *run) noCertificate(ctx context.Context) outcome {
	return r.stranger(ctx, tls.Certificate{}, "without a certificate", OpenToAnyone)
}

// announcePath is where berth guard takes announcements of tests. An engine has nothing there.
const announcePath = "/_berth/probe"

// announce tells berth guard of the connections to come that it must refuse, which it would log as an attack otherwise. What
// is not a guard, or an older one, answers something else.
func (r *run) announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+net.JoinHostPort(r.name, r.port)+announcePath, nil)
	if err != nil {
		return
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	var answer struct {
		Protocol string `json:"protocol"`
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxFirstBody))
	if err == nil && resp.StatusCode == http.StatusOK && json.Unmarshal(text, &answer) == nil && len(answer.Protocol) <= maxProtocol {
		r.probe = answer.Protocol
	}
}

// maxProtocol is the longest name of an ALPN protocol in bytes (RFC 7301).
const maxProtocol = 255

// foreignCertificate shows a certificate that looks like ours down to the name of its authority, and was signed by
// somebody else.
func (r *run) foreignCertificate(ctx context.Context) outcome {
	pair, err := r.forge()
	if err != nil {
		return skip(NotProven, "a foreign certificate could not be made: %v", err)
	}
	return r.stranger(ctx, pair, "with a certificate of another authority", ForeignAccepted)
}

// stranger asks as somebody who must not get an answer.
func (r *run) stranger(ctx context.Context, pair tls.Certificate, how string, open Code) outcome {
	config := r.config(tls.VersionTLS12)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	config.VerifyConnection = nil
	if r.probe != "" {
		config.NextProtos = []string{"http/1.1", r.probe}
	}
	got, err := r.ask(ctx, config)
	for range attempts - 1 {
		if !ended(err) {
			break
		}
		got, err = r.ask(ctx, config)
	}
	switch {
	case err == nil && (got.status == http.StatusUnauthorized || got.status == http.StatusForbidden):
		return warn(RefusedLate, "a client %s is refused by HTTP (%d) and not in the handshake", how, got.status)
	case err == nil:
		return fail(open, "a client %s is answered (%d)", how, got.status)
	case alerted(err):
		return pass("a client %s is refused", how)
	case ended(err) && !r.failed[stepAuthenticate]:
		return pass("a client %s is cut off", how)
	case isTimeout(err):
		return skip(NotProven, "a client %s got no answer within %s", how, r.Timeout)
	}
	return skip(NotProven, "whether a client %s is refused cannot be told: %v", how, err)
}

// forge makes a client certificate by an authority with the name of ours and a key of its own.
func (r *run) forge() (tls.Certificate, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	// Dates of the real clock: the engine does not know of a clock that was given to us.
	begin := time.Now().Add(-time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "foreign"}, NotBefore: begin, NotAfter: begin.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	subject := pkix.Name{CommonName: "foreign"}
	if len(r.own.authorities) > 0 {
		authority.RawSubject = r.own.authorities[0].RawSubject
		authority.SubjectKeyId = r.own.authorities[0].SubjectKeyId
	}
	if r.own.leaf != nil {
		subject = r.own.leaf.Subject
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: subject, NotBefore: begin, NotAfter: begin.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), authorityKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
