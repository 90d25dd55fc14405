package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"berth/internal/pin"
)

// check has the inputs of a certificate's verification.
type check struct {
	pool  *x509.CertPool
	usage x509.ExtKeyUsage
	host  string // that the certificate must name; empty for clients, which have no name to check
	now   time.Time
}

// chains returns the chains from a leaf to one of our authorities. The other presented certificates only serve as
// intermediates. Its errors are those of crypto/x509.
func (c check) chains(presented []*x509.Certificate) ([][]*x509.Certificate, error) {
	return presented[0].Verify(x509.VerifyOptions{
		Roots:         c.pool,
		Intermediates: PoolOf(presented[1:]),
		DNSName:       c.host,
		CurrentTime:   c.now,
		KeyUsages:     []x509.ExtKeyUsage{c.usage},
	})
}

// checkChain checks that a pair was signed by one of authorities and may be used for usage.
func checkChain(pair tls.Certificate, authorities []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	presented := []*x509.Certificate{pair.Leaf}
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			presented = append(presented, cert)
		}
	}
	_, err := check{pool: PoolOf(authorities), usage: usage, now: now}.chains(presented)
	if isReason(err, x509.IncompatibleUsage) {
		return errKind(kindOf(pair.Leaf))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return nil
}

func isReason(err error, reason x509.InvalidReason) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == reason
}

// ends returns the earliest expiry of a chain's certificates.
func ends(chain []*x509.Certificate) time.Time {
	first := chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	return first
}

// checkPins checks that one of certs has one of pins, if there are any.
func checkPins(certs []*x509.Certificate, pins []pin.Pin) error {
	if len(pins) == 0 || slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return slices.Contains(pins, pin.Of(c)) }) {
		return nil
	}
	return fmt.Errorf("%w: its own pin is %s", ErrPin, pin.Of(certs[0]))
}
