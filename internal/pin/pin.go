// Package pin knows the pins of public keys: how they are computed, printed and read. It refuses to know what is pinned, and
// what happens to a certificate without the right one.
package pin

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Prefix begins a pin in the form that curl and others write.
const Prefix = "sha256//"

// Pin is the SHA-256 of a certificate's public key with its algorithm (SubjectPublicKeyInfo). A certificate that is renewed
// with its key keeps its pin.
type Pin [sha256.Size]byte

// Of is the pin of a certificate.
func Of(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String is "sha256//" and the pin in base64.
func (p Pin) String() string { return Prefix + base64.StdEncoding.EncodeToString(p[:]) }

// Parse reads a pin as tools write it: in base64 or hexadecimal, with or without "sha256" and a separator before it.
func Parse(text string) (Pin, error) {
	text = strings.TrimSpace(text)
	// Base64 may itself start with slashes or with "sha256"; only its length distinguishes it.
	for _, prefix := range []string{"", Prefix, "sha256/", "sha256:", "sha256", "//", "/", ":"} {
		digest, cut := strings.CutPrefix(text, prefix)
		if !cut || strings.ContainsAny(digest, "\r\n") { // which the decoder of base64 passes over
			continue
		}
		raw, err := hex.DecodeString(digest)
		if err != nil {
			raw, err = base64.StdEncoding.Strict().DecodeString(digest)
		}
		if err == nil && len(raw) == sha256.Size {
			return Pin(raw), nil
		}
	}
	return Pin{}, fmt.Errorf("pin %q is not the SHA-256 of a public key in base64 or hexadecimal; \"berth certs list\" prints pins", text)
}

// ParseList reads pins separated by commas. No pins at all is no error and means that nothing is pinned.
func ParseList(text string) ([]Pin, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var pins []Pin
	for part := range strings.SplitSeq(text, ",") {
		p, err := Parse(part)
		if err != nil {
			return nil, err
		}
		pins = append(pins, p)
	}
	return pins, nil
}
