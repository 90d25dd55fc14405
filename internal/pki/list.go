package pki

import (
	"crypto/x509"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"

	"berth/internal/pin"
)

// Listing is one certificate of a directory and its known use.
type Listing struct {
	Description
	Revoked bool `json:"revoked"`
	// InUse is nil when it is not known.
	InUse *bool `json:"in_use"`
	// Elsewhere is true for a certificate that was issued here and handed out, or was replaced here.
	Elsewhere bool `json:"elsewhere"`
}

// Usage is the known use of certificates.
type Usage struct {
	// Server is the fingerprint of the certificate that the engine or guard presents; empty if it is not known.
	Server string
	// Client is the file of the certificate that Berth is configured with.
	Client string
	// Connected are the fingerprints of the client certificates of open connections; nil if they are not known.
	Connected []string
}

// List describes the certificates of dir, including those in its records; none at all is an ErrMissing.
func List(dir string, usage Usage) ([]Listing, error) {
	d := openDirectory(dir, nil)
	here, err := DescribeDir(dir)
	if err != nil {
		return nil, err
	}
	known, err := d.records()
	if err != nil {
		return nil, err
	}
	revoked, err := d.revokedSerials()
	if err != nil {
		return nil, err
	}
	var all []Listing
	for _, c := range here {
		all = append(all, Listing{Description: c, InUse: usage.of(c, true)})
	}
	for _, r := range known.Certificates {
		if !slices.ContainsFunc(here, func(c Description) bool { return c.FingerprintSHA256 == r.FingerprintSHA256 }) {
			all = append(all, Listing{Description: r.Description, InUse: usage.of(r.Description, false), Elsewhere: true})
		}
	}
	for i := range all {
		all[i].Revoked = revoked[all[i].AuthorityKeyID+"/"+all[i].Serial]
	}
	return all, nil
}

// of reports whether a certificate is in use; here is false for one that is not in the directory.
func (u Usage) of(c Description, here bool) *bool {
	var in bool
	switch {
	case c.Kind == KindCA && here:
		in = true
	case c.Kind == KindServer && u.Server != "":
		in = c.FingerprintSHA256 == u.Server
	case c.Kind == KindClient && slices.Contains(u.Connected, c.FingerprintSHA256):
		in = true
	case c.Kind == KindClient && here:
		in = u.Client != "" && sameFile(c.Path, u.Client)
	case c.Kind == KindClient && u.Connected != nil:
	default:
		return nil
	}
	return &in
}

// revokedSerials holds "authority/serial number" of every certificate that crl.pem names, and of those that the records know
// to be revoked: they stay revoked when a list was lost.
func (d *directory) revokedSerials() (map[string]bool, error) {
	if !d.has(CACertFile) {
		return nil, nil
	}
	all, lists, known, err := d.read()
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, ca := range all {
		if about := known.listOf(ca); about != nil {
			for _, r := range about.Revoked {
				named[keyID(ca)+"/"+r.Serial] = true
			}
		}
		list := lists[pin.Of(ca)]
		if list == nil {
			continue
		}
		for _, entry := range list.RevokedCertificateEntries {
			named[keyID(ca)+"/"+entry.SerialNumber.Text(16)] = true
		}
	}
	return named, nil
}

// Fingerprint is the SHA-256 of a whole certificate, hexadecimal, as Description has it.
func Fingerprint(cert *x509.Certificate) string { return describe("", cert).FingerprintSHA256 }

// AuthorityKeyID is the key of a certificate's issuer, as Description has it.
func AuthorityKeyID(cert *x509.Certificate) string { return hex.EncodeToString(cert.AuthorityKeyId) }

// Name returns the name to display: the file's name, or its whole path if it is elsewhere.
func (l Listing) Name() string {
	if l.Elsewhere {
		return strings.TrimSuffix(l.Path, string(filepath.Separator))
	}
	return filepath.Base(l.Path)
}
