package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"berth/internal/fileset"
	"berth/internal/pin"
)

// Description describes one certificate for users. Times are UTC.
type Description struct {
	Path              string    `json:"path"`
	Kind              Kind      `json:"kind"`
	Subject           string    `json:"subject"`
	Issuer            string    `json:"issuer"`
	Serial            string    `json:"serial"` // hexadecimal
	DNSNames          []string  `json:"dns_names,omitempty"`
	IPAddresses       []string  `json:"ip_addresses,omitempty"`
	KeyType           string    `json:"key_type"`
	NotBefore         time.Time `json:"not_before"`
	NotAfter          time.Time `json:"not_after"`
	FingerprintSHA256 string    `json:"fingerprint_sha256"` // of the whole certificate, hexadecimal
	Pin               string    `json:"pin"`                // of the public key, as DOCKER_TLS_PIN takes it
	KeyID             string    `json:"key_id,omitempty"`   // of an authority: what its leaves name, hexadecimal
	AuthorityKeyID    string    `json:"authority_key_id,omitempty"`
}

// Describe reads every certificate in a PEM file.
func Describe(path string) ([]Description, error) {
	certs, err := ReadCertificates(path)
	if err != nil {
		return nil, err
	}
	descriptions := make([]Description, 0, len(certs))
	for _, cert := range certs {
		descriptions = append(descriptions, describe(path, cert))
	}
	return descriptions, nil
}

// DescribeDir reads the certificates of dir under our names and Docker's. It returns ErrMissing if there is none.
func DescribeDir(dir string) ([]Description, error) {
	var descriptions []Description
	for _, name := range []string{CACertFile, ServerCertFile, ClientCertFile, DockerCertFile} {
		path := filepath.Join(dir, name)
		if !fileset.Exists(path) {
			continue
		}
		more, err := Describe(path)
		if err != nil {
			return nil, err
		}
		descriptions = append(descriptions, more...)
	}
	if len(descriptions) == 0 {
		return nil, openError(filepath.Join(dir, CACertFile), fs.ErrNotExist)
	}
	return descriptions, nil
}

func describe(path string, cert *x509.Certificate) Description {
	sum := sha256.Sum256(cert.Raw)
	d := Description{
		Path:              path,
		Kind:              kindOf(cert),
		Subject:           cert.Subject.String(),
		Issuer:            cert.Issuer.String(),
		Serial:            cert.SerialNumber.Text(16),
		DNSNames:          cert.DNSNames,
		KeyType:           keyName(cert.PublicKey),
		NotBefore:         cert.NotBefore.UTC(),
		NotAfter:          cert.NotAfter.UTC(),
		FingerprintSHA256: hex.EncodeToString(sum[:]),
		Pin:               pin.Of(cert).String(),
		AuthorityKeyID:    hex.EncodeToString(cert.AuthorityKeyId),
	}
	if cert.IsCA {
		d.KeyID = hex.EncodeToString(cert.SubjectKeyId)
	}
	for _, ip := range cert.IPAddresses {
		d.IPAddresses = append(d.IPAddresses, ip.String())
	}
	return d
}

// Names returns the host names and then the addresses of a certificate.
func Names(cert *x509.Certificate) []string {
	return slices.Concat(cert.DNSNames, describe("", cert).IPAddresses)
}

func kindOf(cert *x509.Certificate) Kind {
	if cert.IsCA {
		return KindCA
	}
	server := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	client := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	switch {
	case server && !client:
		return KindServer
	case client && !server:
		return KindClient
	default:
		return KindOther
	}
}

// checkKind refuses a certificate that certainly cannot be used for usage. A certificate without or with several usages
// passes here; the chain check decides on it.
func checkKind(cert *x509.Certificate, usage x509.ExtKeyUsage) error {
	kind := kindOf(cert)
	if kind == KindCA || kind == KindServer && usage != x509.ExtKeyUsageServerAuth || kind == KindClient && usage != x509.ExtKeyUsageClientAuth {
		return errKind(kind)
	}
	return nil
}

func errKind(kind Kind) error {
	return fmt.Errorf("%w: it is a %s certificate", ErrWrongKind, kind)
}

func keyName(key any) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	default:
		return "unknown"
	}
}
