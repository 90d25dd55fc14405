package servertls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"berth/internal/fileset"
	"berth/internal/pki"
)

// Load reads a pair. Its error names the faulty file: the key must be that of the certificate, and clients must be able to
// accept it for a name. Whether it is valid now is for [Valid] to say.
func Load(p Pair) (tls.Certificate, error) {
	chain, err := pki.ReadCertificates(p.Cert)
	if err != nil {
		return tls.Certificate{}, fault(p.Cert, err)
	}
	key, err := pki.ReadKey(p.Key)
	if err != nil {
		return tls.Certificate{}, fault(p.Key, err)
	}
	pair, ok := pki.PairOf(chain, key)
	switch leaf := chain[0]; {
	case !ok:
		return tls.Certificate{}, fault(p.Key, fmt.Errorf("%w %s", pki.ErrMismatch, p.Cert))
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		return tls.Certificate{}, fault(p.Cert, fmt.Errorf("%w: it names no host (subject alternative name)", pki.ErrWrongKind))
	case len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return tls.Certificate{}, fault(p.Cert, fmt.Errorf("%w: it is not for servers", pki.ErrWrongKind))
	}
	return pair, nil
}

// fault is a file's fault without the advice that package pki gives for the certificates that Berth makes itself.
func fault(path string, err error) error { return &pki.FileError{Path: path, Err: pki.Reason(err)} }

// keyOfEverybody are the permissions that a key must not give. A group may read it: access lists of credentials and of mounted
// secrets appear so.
const keyOfEverybody = 0o027

// KeyFault returns the error of a key that every user can read, or a group can change; nil if the file cannot be looked at.
func KeyFault(path string) error {
	info, err := fileset.Stat(path)
	if err != nil || info.Mode().Perm()&keyOfEverybody == 0 {
		return nil //nolint:nilerr // reading the file reports it
	}
	return &pki.FileError{
		Path: path, Err: fmt.Errorf("mode %04o: %w", info.Mode().Perm(), pki.ErrKeyExposed), Advice: "chmod 0400 " + path,
	}
}

// Valid returns why a certificate is not valid now: it wraps pki.ErrExpired or pki.ErrNotYetValid.
func Valid(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w on %s", pki.ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%w: it begins on %s", pki.ErrNotYetValid, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// When a certificate must be renewed, at the latest. Of one with a short life it is the last third, and the last tenth.
const (
	warnBefore = 21 * 24 * time.Hour
	failBefore = 7 * 24 * time.Hour
)

// ExpiryOf is the remaining validity of a listener's certificate. Its urgency begins later than that of the certificates that
// Berth makes itself: an authority on the Internet renews those of 90 days when 30 days are left.
func ExpiryOf(leaf *x509.Certificate, now time.Time) pki.Expiry {
	e := pki.ExpiryOf(leaf, now)
	e.Kind = pki.KindListener
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case e.Left < min(failBefore, life/10):
		e.Urgency = pki.UrgencyCritical
	case e.Left < min(warnBefore, life/3):
		e.Urgency = pki.UrgencyWarning
	default:
		e.Urgency = pki.UrgencyOK
	}
	return e
}
