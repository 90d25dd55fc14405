package connection

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"time"

	"berth/internal/fileset"
	"berth/internal/pin"
	"berth/internal/pki"
)

// Certificate is what a report says of one.
type Certificate struct {
	Subject           string    `json:"subject"`
	Issuer            string    `json:"issuer"`
	Names             []string  `json:"names,omitempty"` // DNS names and addresses
	NotBefore         time.Time `json:"not_before"`
	NotAfter          time.Time `json:"not_after"`
	DaysLeft          int       `json:"days_left"`          // whole days, negative once it has expired
	FingerprintSHA256 string    `json:"fingerprint_sha256"` // of the certificate, hexadecimal
	Pin               string    `json:"pin"`                // of its public key (SPKI), as DOCKER_TLS_PIN takes it
}

func describe(c *x509.Certificate, now time.Time) *Certificate {
	return &Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: pki.Names(c),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), DaysLeft: pki.ExpiryOf(c, now).DaysLeft,
		FingerprintSHA256: pki.Fingerprint(c), Pin: pin.Of(c).String(),
	}
}

// material is what the client's three files hold, and what is wrong with each; a fault without a status is none.
type material struct {
	authorities []*x509.Certificate
	leaf        *x509.Certificate
	pair        tls.Certificate // empty unless certificate and key are there and belong together
	caFault     Step
	certFault   Step
	keyFault    Step
	keyMode     fs.FileMode
}

func readMaterial(o Options) material {
	var m material
	authorities, err := pki.ReadCertificates(o.CA)
	m.authorities = authorities
	m.caFault = fileFault("ca", o.CA, err, readable(o.CA), "replace "+o.CA+" by the PEM of the authority that signed the engine's certificate")

	chain, err := pki.ReadCertificates(o.Cert)
	m.certFault = fileFault("client", o.Cert, err, readable(o.Cert), "replace "+o.Cert+" by the PEM of the client's certificate")
	if len(chain) > 0 {
		m.leaf = chain[0]
	}
	key, err := pki.ReadKey(o.Key)
	m.keyFault = fileFault("key", o.Key, err,
		"run as the owner of "+o.Key+", or give it to the user who runs Berth (chown); keep its mode at 0400",
		"replace "+o.Key+" by the PEM of the client's private key, without a passphrase")
	if info, err := fileset.Stat(o.Key); err == nil {
		m.keyMode = info.Mode()
	}
	if m.leaf == nil || key == nil {
		return m
	}
	var together bool
	if m.pair, together = pki.PairOf(chain, key); !together {
		m.keyFault = fail("key-mismatch", "put certificate and key of one pair side by side; berth certs list shows what is there",
			"%s is the key of another certificate than %s", o.Key, o.Cert)
	}
	return m
}

func readable(path string) string {
	return "let this user read " + path + " (chmod 444 " + path + ", and the way to it)"
}

// fileFault is what the failure to read a file means; kind begins its code.
func fileFault(kind Code, path string, err error, unreadable, malformed string) Step {
	switch {
	case err == nil:
		return Step{}
	case errors.Is(err, pki.ErrMissing):
		return fail(kind+"-missing", `put the client's ca.pem, client-cert.pem and client-key.pem into DOCKER_CERT_PATH; "berth certs init" makes a new set`,
			"there is no file %s", path)
	case errors.Is(err, pki.ErrMalformed):
		return fail(kind+"-malformed", malformed, "%s: %v", path, pki.Reason(err))
	}
	return fail(kind+"-unreadable", unreadable, "%s: %v", path, pki.Reason(err))
}
