package connection

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"time"

	"berth/internal/pki"
)

func (r *run) noCertificate(ctx context.Context) Step {
	return r.unauthenticated(ctx, tls.Certificate{}, "without a certificate", "open-to-anyone")
}

// announcePath is where berth guard takes announcements of tests. An engine has nothing there.
const announcePath = "/_berth/probe"

// announce announces to berth guard the following connections that it must refuse, which it would otherwise log as an attack.
// An engine, or an older guard, responds differently.
func (r *run) announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	var answer struct {
		Protocol string `json:"protocol"`
	}
	status, text, err := r.send(ctx, http.MethodPost, announcePath, nil)
	if err == nil && status == http.StatusOK && json.Unmarshal(text, &answer) == nil && len(answer.Protocol) <= maxProtocol {
		r.probe = answer.Protocol
	}
}

// maxProtocol is the longest name of an ALPN protocol in bytes (RFC 7301).
const maxProtocol = 255

// foreignCertificate presents a certificate that equals ours, including the name of its authority, but was signed by another
// authority.
func (r *run) foreignCertificate(ctx context.Context) Step {
	pair, err := r.forge()
	if err != nil {
		return skip(notProven, "a foreign certificate could not be made: %v", err)
	}
	return r.unauthenticated(ctx, pair, "with a certificate of another authority", "foreign-certificate-accepted")
}

// unauthenticated sends a request as a client that must be refused; how describes it, and open is the code of a response.
func (r *run) unauthenticated(ctx context.Context, pair tls.Certificate, how string, open Code) Step {
	config := r.config(tls.VersionTLS12)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	config.VerifyConnection = nil
	if r.probe != "" {
		config.NextProtos = []string{"http/1.1", r.probe}
	}
	got, err := r.ask(ctx, config)
	switch {
	case err == nil && (got.status == http.StatusUnauthorized || got.status == http.StatusForbidden):
		return warn("refused-late", "demand the client's certificate in the handshake (tlsverify), so that unauthenticated clients do not reach any HTTP server",
			"a client %s is refused by HTTP (%d) and not in the handshake", how, got.status)
	case err == nil:
		return fail(open, `set "tlsverify": true and "tlscacert" in /etc/docker/daemon.json and restart dockerd, or close the port and use berth guard; `+
			"until then every client that reaches "+r.host+":"+r.port+" has root access there",
			"a client %s is answered (%d)", how, got.status)
	case alerted(err):
		return pass("a client %s is refused", how)
	case ended(err) && !r.failed[stepAuthenticate]:
		return pass("the connection of a client %s is closed", how)
	case isTimeout(err):
		return skip(notProven, "a client %s got no answer within %s", how, r.Timeout)
	}
	return skip(notProven, "whether a client %s is refused is not known: %v", how, err)
}

// forge makes a client certificate by an authority with the name of ours and a key of its own.
func (r *run) forge() (tls.Certificate, error) {
	// By the real clock, since Options.Now does not change the engine's, and an hour early, for an engine with a slow clock.
	req := pki.Request{CommonName: "foreign", Now: time.Now().Add(-time.Hour), Days: 1}
	authority, err := pki.NewAuthority(req)
	if err != nil {
		return tls.Certificate{}, err
	}
	if len(r.own.authorities) > 0 {
		authority.Certificate.RawSubject = r.own.authorities[0].RawSubject
		authority.Certificate.SubjectKeyId = r.own.authorities[0].SubjectKeyId
	}
	if r.own.leaf != nil {
		req.RawSubject = r.own.leaf.RawSubject
	}
	leaf, err := authority.IssueClient(req)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Certificate.Raw}, PrivateKey: leaf.Signer()}, nil
}
