package pki

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"berth/internal/fileset"
)

// openAuthority reads the key of keyPath, or of the directory if that is empty, and the authority that it belongs to.
func openAuthority(d *directory, keyPath string, now time.Time) (*Authority, error) {
	if keyPath == "" {
		keyPath = d.file(CAKeyFile)
	}
	a, err := findAuthority(d, keyPath)
	if err != nil {
		return nil, err
	}
	if err := checkTime(a.Certificate, now); err != nil {
		path := d.file(CACertFile)
		return nil, &FileError{Path: path, Err: err, Advice: authorityAdvice(path, err)}
	}
	return a, nil
}

// findAuthority pairs a key with the certificate of the same public key in ca.pem.
func findAuthority(d *directory, keyPath string) (*Authority, error) {
	data, err := ReadFile(keyPath)
	if missing(err) {
		return nil, &FileError{Path: keyPath, Err: ErrMissing, Advice: adviceAuthority}
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, &FileError{Path: keyPath, Err: err, Advice: adviceAuthority}
	}
	caPath := d.file(CACertFile)
	certs, err := ReadCertificates(caPath)
	if err != nil {
		return nil, err
	}
	for _, cert := range certs {
		if samePublicKey(cert.PublicKey, key.Public()) {
			return &Authority{Pair{Certificate: cert, key: key}}, nil
		}
	}
	return nil, &FileError{Path: keyPath, Err: fmt.Errorf("%w %s", ErrMismatch, caPath), Advice: adviceAuthority}
}

// issuerOf is the authority that signed a certificate; nil if none of these did.
func issuerOf(cert *x509.Certificate, all []*x509.Certificate) *x509.Certificate {
	for _, ca := range all {
		if cert.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

// leafFiles names a leaf and its key in a directory.
type leafFiles struct{ cert, key string }

// leaves are the certificates that a directory holds for its own ends, as far as they are there.
func (d *directory) leaves() []leafFiles {
	var found []leafFiles
	for _, l := range []leafFiles{{ServerCertFile, ServerKeyFile}, {ClientCertFile, ClientKeyFile}, {DockerCertFile, DockerKeyFile}} {
		if fileset.Exists(d.file(l.cert)) {
			found = append(found, l)
		}
	}
	return found
}

// leaf reads the first certificate of a file.
func (d *directory) leaf(name string) (*x509.Certificate, error) {
	certs, err := ReadCertificates(d.file(name))
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

func keyID(ca *x509.Certificate) string { return hex.EncodeToString(ca.SubjectKeyId) }
