package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"time"
)

const redacted = "[redacted]"

// Pair is a certificate with its private key. It prints as its subject; only KeyPEM and Signer expose the key.
type Pair struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// CertPEM is the certificate as one PEM block.
func (p Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: p.Certificate.Raw})
}

// KeyPEM returns the private key in PKCS #8, as one PEM block. It is a secret.
func (p Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPrivateKey, Bytes: der}), nil
}

// Signer is the private key.
func (p Pair) Signer() crypto.Signer { return p.key }

// Format writes the subject for every verb, so that no verb reaches the key.
func (p Pair) Format(s fmt.State, _ rune) {
	subject := "none"
	if p.Certificate != nil {
		subject = p.Certificate.Subject.String()
	}
	fmt.Fprintf(s, "certificate %s, key %s", subject, redacted)
}

// MarshalJSON hides the key.
func (p Pair) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue hides the key.
func (p Pair) LogValue() slog.Value { return slog.StringValue(redacted) }

// Authority signs server and client certificates.
type Authority struct {
	Pair
}

// Request describes a certificate to make. Names are used only for servers.
type Request struct {
	CommonName string
	RawSubject []byte // whole subject in DER; empty: the common name, and Berth's organization
	DNSNames   []string
	IPs        []net.IP
	KeyType    KeyType
	Now        time.Time
	Days       int // whole days from Now, at least 1
}

// NewAuthority makes a self-signed authority that can sign leaf certificates and no further authority.
func NewAuthority(req Request) (*Authority, error) {
	template, err := template(req)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.CRLDistributionPoints = []string{listMarker}
	key, err := newKey(req.KeyType)
	if err != nil {
		return nil, err
	}
	cert, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	return &Authority{Pair{Certificate: cert, key: key}}, nil
}

// listMarker is the distribution point in the certificate of an authority that always has a revocation list, so that a missing
// list was lost. It is a name, not an address; nothing fetches it.
const listMarker = "urn:berth:crl.pem"

// promisesList reports whether an authority always has a list.
func promisesList(ca *x509.Certificate) bool {
	return slices.Contains(ca.CRLDistributionPoints, listMarker)
}

// IssueServer makes a certificate for TLS servers only, with the names and addresses of req as its identity.
// At least one of them is needed: clients ignore the common name. It expires with the authority at the latest.
func (a *Authority) IssueServer(req Request) (Pair, error) {
	if len(req.DNSNames)+len(req.IPs) == 0 {
		return Pair{}, errors.New("issue server certificate: it needs at least one host name or address")
	}
	template, err := template(req)
	if err != nil {
		return Pair{}, err
	}
	template.DNSNames = req.DNSNames
	template.IPAddresses = req.IPs
	// Without clientAuth, a stolen server key gives no access to the engine.
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return a.issue(template, req.KeyType)
}

// IssueClient makes a certificate for TLS clients only; its common name is the identity that the guard logs.
// It expires with the authority at the latest.
func (a *Authority) IssueClient(req Request) (Pair, error) {
	template, err := template(req)
	if err != nil {
		return Pair{}, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(template, req.KeyType)
}

func (a *Authority) issue(template *x509.Certificate, keyType KeyType) (Pair, error) {
	key, err := newKey(keyType)
	if err != nil {
		return Pair{}, err
	}
	return a.issueFor(template, key)
}

// issueFor signs a leaf for a key.
func (a *Authority) issueFor(template *x509.Certificate, key crypto.Signer) (Pair, error) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	if template.NotAfter.After(a.Certificate.NotAfter) {
		template.NotAfter = a.Certificate.NotAfter
	}
	cert, err := sign(template, a.Certificate, key, a.key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Certificate: cert, key: key}, nil
}

func template(req Request) (*x509.Certificate, error) {
	if req.Days < 1 || req.Days > maxDays {
		return nil, fmt.Errorf("certificate for %s: a validity of %d days is outside 1 to %d", req.CommonName, req.Days, maxDays)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: req.CommonName, Organization: []string{"Berth"}},
		RawSubject:   req.RawSubject,
		NotBefore:    req.Now.UTC().Add(-clockSkew),
		NotAfter:     req.Now.UTC().AddDate(0, 0, req.Days),
	}, nil
}

// newSerial is 128 random bits with the highest set: always positive, always of the same length, never zero.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.SetBit(n, 127, 1), nil
}

func newKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case ECDSA, "":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make ECDSA key: %w", err)
		}
		return key, nil
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make Ed25519 key: %w", err)
		}
		return key, nil
	default:
		return nil, errKeyType(t)
	}
}

func errKeyType(t KeyType) error {
	return fmt.Errorf("key type %q is unknown: use ecdsa or ed25519", t)
}

func sign(template, parent *x509.Certificate, key, parentKey crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back certificate for %s: %w", template.Subject.CommonName, err)
	}
	return cert, nil
}

// Revoked makes the list that follows previous, which may be nil, with these serial numbers added to it. Entries are sorted
// by serial number. Its number is larger than every earlier one, also when previous was lost.
func (a *Authority) Revoked(previous *x509.RevocationList, serials []*big.Int, now time.Time) (*x509.RevocationList, error) {
	now = now.UTC().Truncate(time.Second)
	number := big.NewInt(now.Unix())
	var entries []x509.RevocationListEntry
	if previous != nil {
		entries = slices.Clone(previous.RevokedCertificateEntries)
		if next := new(big.Int).Add(previous.Number, big.NewInt(1)); next.Cmp(number) > 0 {
			number = next
		}
	}
	for _, serial := range serials {
		entries = append(entries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now})
	}
	slices.SortFunc(entries, func(x, y x509.RevocationListEntry) int { return x.SerialNumber.Cmp(y.SerialNumber) })
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		RevokedCertificateEntries: entries,
		Number:                    number,
		ThisUpdate:                now,
		// The authority's key may be offline for years; a list is valid until the next one.
		NextUpdate: a.Certificate.NotAfter,
	}, a.Certificate, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("read back revocation list: %w", err)
	}
	return list, nil
}
