package pki

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"time"

	"berth/internal/fileset"
)

// record is a certificate that was issued here and has left the directory: it was handed out, or replaced by another one.
// Without a record, revoking a certificate needs its file.
type record struct {
	Description
	Replaced bool `json:"replaced,omitempty"`
}

// forgetAfter is how long a record is kept when its certificate has expired.
const forgetAfter = 30 * 24 * time.Hour

type records struct {
	Certificates []record    `json:"certificates"`
	Lists        []knownList `json:"revocation_lists,omitempty"`
}

// readRecords reads the records of a directory; none is no error.
func readRecords(dir string) (*records, error) {
	r, path := &records{Certificates: []record{}}, filepath.Join(dir, recordsFile)
	if !fileset.Exists(path) {
		return r, nil
	}
	return r, readJSON(path, r, "put it back from a backup, or remove it: what was issued is revoked by its file then, and a lost crl.pem is not noticed")
}

// readJSON decodes a file into v. Its errors are those of ReadFile; that of a malformed file carries the advice.
func readJSON(path string, v any, advice string) error {
	data, err := ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return &FileError{Path: path, Err: fmt.Errorf("%w: %w", ErrMalformed, err), Advice: advice}
	}
	return nil
}

// add records a certificate, or that it was replaced.
func (r *records) add(d Description, replaced bool) {
	i := slices.IndexFunc(r.Certificates, func(c record) bool { return c.FingerprintSHA256 == d.FingerprintSHA256 })
	if i < 0 {
		r.Certificates = append(r.Certificates, record{Description: d, Replaced: replaced})
		return
	}
	r.Certificates[i].Replaced = r.Certificates[i].Replaced || replaced
}

// encode writes the records without those of certificates that have long expired.
func (r records) encode(now time.Time) ([]byte, error) {
	r.Certificates = slices.DeleteFunc(slices.Clone(r.Certificates), func(c record) bool { return now.Sub(c.NotAfter) > forgetAfter })
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write records: %w", err)
	}
	return append(data, '\n'), nil
}

// knownList is the record of one authority's revocation list, by which a lost list, or one replaced by an older one, is detected
// and can be recreated completely.
type knownList struct {
	AuthorityKeyID string            `json:"authority_key_id"` // hexadecimal
	Number         string            `json:"number"`           // decimal; of the newest list
	Revoked        []knownRevocation `json:"revoked,omitempty"`
}

type knownRevocation struct {
	Serial    string    `json:"serial"` // hexadecimal
	RevokedAt time.Time `json:"revoked_at"`
}

// listOf returns the record of an authority's list; nil if there is none.
func (r *records) listOf(ca *x509.Certificate) *knownList {
	i := slices.IndexFunc(r.Lists, func(l knownList) bool { return l.AuthorityKeyID == keyID(ca) })
	if i < 0 {
		return nil
	}
	return &r.Lists[i]
}

// noteList records an authority's newest list.
func (r *records) noteList(ca *x509.Certificate, list *x509.RevocationList) {
	known := knownList{AuthorityKeyID: keyID(ca), Number: list.Number.String()}
	for _, e := range list.RevokedCertificateEntries {
		known.Revoked = append(known.Revoked, knownRevocation{Serial: e.SerialNumber.Text(16), RevokedAt: e.RevocationTime.UTC()})
	}
	if old := r.listOf(ca); old != nil {
		*old = known
		return
	}
	r.Lists = append(r.Lists, known)
}

func (k *knownList) number() (*big.Int, error) {
	n, ok := new(big.Int).SetString(k.Number, 10)
	if !ok || n.Sign() < 0 {
		return nil, fmt.Errorf("%w: %q is not the number of a revocation list", ErrMalformed, k.Number)
	}
	return n, nil
}

// continued returns the list that the next one must follow: list, with everything of known that is not in it. Both may be nil.
func (k *knownList) continued(list *x509.RevocationList) (*x509.RevocationList, error) {
	if k == nil {
		return list, nil
	}
	number, err := k.number()
	if err != nil {
		return nil, err
	}
	whole := &x509.RevocationList{Number: number}
	if list != nil {
		whole.RevokedCertificateEntries = slices.Clone(list.RevokedCertificateEntries)
		if list.Number.Cmp(number) > 0 {
			whole.Number = list.Number
		}
	}
	for _, r := range k.Revoked {
		serial, ok := new(big.Int).SetString(r.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("%w: %q is not a serial number", ErrMalformed, r.Serial)
		}
		if !includes(whole, serial) {
			whole.RevokedCertificateEntries = append(whole.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: r.RevokedAt})
		}
	}
	return whole, nil
}
