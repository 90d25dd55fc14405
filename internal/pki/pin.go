package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// pinPrefix begins a pin in the form that curl and others write.
const pinPrefix = "sha256//"

// Pin is the SHA-256 of a certificate's public key with its algorithm (SubjectPublicKeyInfo). A certificate that is renewed
// with its key keeps its pin.
type Pin [sha256.Size]byte

// PinOf is the pin of a certificate.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String is "sha256//" and the pin in base64.
func (p Pin) String() string { return pinPrefix + base64.StdEncoding.EncodeToString(p[:]) }

// ParsePins reads pins separated by commas: each in base64, with or without "sha256//" before it. No pins at all is no
// error and means that nothing is pinned.
func ParsePins(text string) ([]Pin, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var pins []Pin
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(part, pinPrefix))
		if err != nil || len(raw) != sha256.Size || strings.ContainsAny(part, "\r\n") {
			return nil, fmt.Errorf("pin %q is not the SHA-256 of a public key in base64; \"berth certs list\" prints pins", part)
		}
		pins = append(pins, Pin(raw))
	}
	return pins, nil
}

// checkPins makes sure that one of certs carries one of pins, if there are any.
func checkPins(certs []*x509.Certificate, pins []Pin) error {
	if len(pins) == 0 || slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return slices.Contains(pins, PinOf(c)) }) {
		return nil
	}
	return fmt.Errorf("%w: its own pin is %s", ErrPin, PinOf(certs[0]))
}
