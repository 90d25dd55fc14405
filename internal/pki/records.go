package pki

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"berth/internal/fileset"
)

// record is a certificate that was issued here and does not stand here: it went elsewhere, or another one took its place.
// Without it a certificate could be revoked only by whoever has its file.
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
func readRecords(d *directory) (records, error) {
	path := d.file(recordsFile)
	if !fileset.Exists(path) {
		return records{}, nil
	}
	data, err := ReadFile(path)
	if err != nil {
		return records{}, err
	}
	var r records
	if err := json.Unmarshal(data, &r); err != nil {
		return records{}, &FileError{Path: path, Err: fmt.Errorf("%w: %w", ErrMalformed, err), Advice: "put it back from a backup, or remove it: what was issued is revoked by its file then, and a lost crl.pem is not noticed"}
	}
	return r, nil
}

// add notes a certificate, or that it was replaced.
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
