package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"berth/internal/fileset"
)

const (
	blockCertificate = "CERTIFICATE"
	blockPrivateKey  = "PRIVATE KEY"

	// maxFileSize is the size limit of certificate files: real ones have a few kilobytes.
	maxFileSize = 1 << 20
)

// ParseCertificates reads every certificate of a PEM file, at least one. A private key among them is refused, since
// certificate files are readable by all.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if strings.HasSuffix(block.Type, blockPrivateKey) {
			return nil, fmt.Errorf("%w: there is a private key in a certificate file", ErrMalformed)
		}
		if block.Type != blockCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no certificate in it", ErrMalformed)
	}
	return certs, nil
}

func encodeCertificates(certs []*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: cert.Raw})...)
	}
	return out
}

// parseKey reads the private key of a PEM file: PKCS #8, or the older EC and RSA forms that other tools write.
func parseKey(data []byte) (crypto.Signer, error) {
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return nil, fmt.Errorf("%w: no private key in it", ErrMalformed)
		}
		if !strings.HasSuffix(block.Type, blockPrivateKey) {
			continue
		}
		if strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
			return nil, fmt.Errorf("%w: the private key is encrypted with a passphrase; store it without one", ErrMalformed)
		}
		return parseKeyDER(block.Bytes)
	}
}

func parseKeyDER(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("%w: a private key of type %T cannot sign", ErrMalformed, key)
		}
		return signer, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	return nil, fmt.Errorf("%w: the private key cannot be read", ErrMalformed)
}

// ReadFile reads a certificate file of bounded size, or its new version while a change is being put in place. Its errors
// name the remedy: each is a FileError that wraps ErrMissing, fs.ErrPermission, ErrMalformed or an error of the operating
// system.
func ReadFile(path string) ([]byte, error) {
	data, err := fileset.ReadFile(path, maxFileSize)
	switch {
	case errors.Is(err, fileset.ErrTooLarge):
		err := fmt.Errorf("%w: larger than %d bytes", ErrMalformed, maxFileSize)
		return nil, unusable(path, err)
	case err != nil:
		return nil, openError(path, err)
	}
	return data, nil
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &FileError{Path: path, Err: ErrMissing, Advice: advice(path, adviceInit)}
	case errors.Is(err, fs.ErrPermission):
		return &FileError{Path: path, Err: fs.ErrPermission, Advice: advicePermission}
	default:
		return &FileError{Path: path, Err: err}
	}
}

// advice is usual, unless an interrupted init in the same directory explains the fault.
func advice(path, usual string) string {
	if fileset.Interrupted(filepath.Dir(path)) {
		return adviceInterrupted
	}
	return usual
}

// ReadCertificates reads every certificate of a file, at least one. Its errors are those of ReadFile.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := ParseCertificates(data)
	if err != nil {
		return nil, unusable(path, err)
	}
	return certs, nil
}

// ReadRoots returns the authorities of a file as a client trusts them; nil, those of this machine, without a file.
func ReadRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // see above
	}
	certs, err := ReadCertificates(path)
	if err != nil {
		return nil, &FileError{Path: path, Err: Reason(err)}
	}
	return PoolOf(certs), nil
}

// ReadKey reads the private key of a file. Its errors are those of ReadFile.
func ReadKey(path string) (crypto.Signer, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, unusable(path, err)
	}
	return key, nil
}

// authorities are the authorities of a CA file: all of them, and those that are valid now.
type authorities struct{ all, usable []*x509.Certificate }

// readAuthorities reads a CA file. It may hold several authorities, so that an old and a new one can overlap; one that has
// expired beside one that has not is no fault.
func readAuthorities(path string, now time.Time) (authorities, error) {
	certs, err := ReadCertificates(path)
	if err != nil {
		return authorities{}, err
	}
	found := authorities{all: certs}
	var reason error
	for _, cert := range certs {
		if !cert.IsCA || !cert.BasicConstraintsValid {
			return authorities{}, unusable(path, fmt.Errorf("%w: %s is no certificate authority", ErrWrongKind, cert.Subject))
		}
		if err := checkTime(cert, now); err != nil {
			reason = err
			continue
		}
		found.usable = append(found.usable, cert)
	}
	if len(found.usable) == 0 {
		return authorities{}, &FileError{Path: path, Err: reason, Advice: authorityAdvice(path, reason)}
	}
	return found, nil
}

// PoolOf is a pool of these certificates.
func PoolOf(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool
}

// readPair reads a certificate with its chain, if any, and the private key; the key must match, and the certificate be valid now.
func readPair(certPath, keyPath string, now time.Time) (tls.Certificate, error) {
	certs, err := ReadCertificates(certPath)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ReadKey(keyPath)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, ok := PairOf(certs, key)
	if !ok {
		return tls.Certificate{}, unusable(keyPath, fmt.Errorf("%w %s", ErrMismatch, certPath))
	}
	if err := checkTime(pair.Leaf, now); err != nil {
		return tls.Certificate{}, &FileError{Path: certPath, Err: err, Advice: timeAdvice(certPath, err)}
	}
	return pair, nil
}

// PairOf joins a certificate, with the rest of its chain behind it, and its private key; false if it is the key of another
// certificate.
func PairOf(chain []*x509.Certificate, key crypto.Signer) (tls.Certificate, bool) {
	if !matches(chain[0], key) {
		return tls.Certificate{}, false
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, cert := range chain {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair, true
}

// matches reports whether a key is that of a certificate.
func matches(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && public.Equal(cert.PublicKey)
}

func timeAdvice(path string, err error) string {
	if errors.Is(err, ErrNotYetValid) {
		return "correct the clock of this machine"
	}
	return advice(path, adviceRenew)
}

func authorityAdvice(path string, err error) string {
	if errors.Is(err, ErrExpired) {
		return `run "berth certs rotate" for a new authority`
	}
	return timeAdvice(path, err)
}

func checkTime(cert *x509.Certificate, now time.Time) error {
	if now.After(cert.NotAfter) {
		return fmt.Errorf("%w on %s", ErrExpired, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(cert.NotBefore) {
		return fmt.Errorf("%w: it begins on %s", ErrNotYetValid, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
