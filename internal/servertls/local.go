package servertls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"

	"berth/internal/pki"
)

// errOther is the error for a server that shows none of the expected certificates.
var errOther = errors.New("it shows another certificate than the Berth of this state directory")

// Encode returns certificates as PEM, for [TrustOnly].
func Encode(leaves []*x509.Certificate) []byte {
	var text bytes.Buffer
	for _, leaf := range leaves {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}) // a Buffer has no errors
	}
	return text.Bytes()
}

// TrustOnly is the configuration of a client on the server's own machine. It accepts exactly the certificates that [Encode] has
// written, by whatever address it connects: the server has published them where only its own user can write.
func TrustOnly(text []byte) (*tls.Config, error) {
	leaves, err := pki.ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter: names and dates say less than the certificate itself
		VerifyConnection: func(state tls.ConnectionState) error {
			if !slices.ContainsFunc(leaves, state.PeerCertificates[0].Equal) {
				return errOther
			}
			return nil
		},
	}, nil
}
