package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"time"

	"berth/internal/fileset"
	"berth/internal/pin"
)

const blockCRL = "X509 CRL"

// Revocations are the lists in force, one for each authority at most, by the authority's public key.
type Revocations map[pin.Pin]*x509.RevocationList

// crlPath returns the path of a CA file's list, which is beside it.
func crlPath(caPath string) string { return filepath.Join(filepath.Dir(caPath), CRLFile) }

// check refuses a certificate that its issuer has revoked. One such certificate in any chain suffices.
func (r Revocations) check(chains [][]*x509.Certificate) error {
	if len(r) == 0 {
		return nil
	}
	for _, chain := range chains {
		for i, cert := range chain[:len(chain)-1] {
			if r.Has(chain[i+1], cert.SerialNumber) {
				return fmt.Errorf("%w: %s, serial number %s", ErrRevoked, cert.Subject, cert.SerialNumber.Text(16))
			}
		}
	}
	return nil
}

// Has reports whether an authority has revoked a serial number.
func (r Revocations) Has(authority *x509.Certificate, serial *big.Int) bool {
	return includes(r[pin.Of(authority)], serial)
}

// includes reports whether a list, which may be nil, has a serial number.
func includes(list *x509.RevocationList, serial *big.Int) bool {
	if list == nil {
		return false
	}
	// Lists of other tools may be unsorted.
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(serial) == 0
	})
}

// Overdue reports whether the next update of a list is overdue.
func Overdue(list *x509.RevocationList, now time.Time) bool {
	return !list.NextUpdate.IsZero() && now.After(list.NextUpdate)
}

// readRevocations reads the lists beside a CA file; no file means that nothing was revoked.
func readRevocations(caPath string, all []*x509.Certificate) (Revocations, error) {
	path := crlPath(caPath)
	if !fileset.Exists(path) {
		return Revocations{}, nil
	}
	return ReadRevocations(path, all)
}

// ReadRevocations reads the lists of a file, each signed by another one of these authorities.
// Its errors are those of ReadFile, and ErrListSigner.
func ReadRevocations(path string, all []*x509.Certificate) (Revocations, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	lists, err := parseRevocations(data, all)
	if err != nil {
		return nil, &FileError{Path: path, Err: err, Advice: adviceRevoke}
	}
	return lists, nil
}

// parseRevocations reads the lists of a PEM file: at least one, each signed by another one of our authorities. A partial
// list is refused, since the rest could have more entries.
func parseRevocations(data []byte, all []*x509.Certificate) (Revocations, error) {
	lists := Revocations{}
	// The decoder skips malformed blocks, and a skipped list would revoke nothing.
	for unread, rest := bytes.Count(data, []byte("-----BEGIN")), data; unread > 0; unread-- {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return nil, fmt.Errorf("%w: a block is cut off or damaged", ErrMalformed)
		}
		if block.Type != blockCRL {
			return nil, fmt.Errorf("%w: there is %q in a file of revocation lists", ErrMalformed, block.Type)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if err := checkList(list); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(ca *x509.Certificate) bool { return list.CheckSignatureFrom(ca) == nil })
		if i < 0 {
			return nil, fmt.Errorf("%w: number %s", ErrListSigner, list.Number)
		}
		key := pin.Of(all[i])
		if lists[key] != nil {
			return nil, fmt.Errorf("%w: two revocation lists of %s", ErrMalformed, all[i].Subject)
		}
		lists[key] = list
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("%w: no revocation list in it", ErrMalformed)
	}
	return lists, nil
}

func checkList(list *x509.RevocationList) error {
	if list.Number == nil {
		return fmt.Errorf("%w: a revocation list without a number", ErrMalformed)
	}
	for _, extension := range list.Extensions {
		if extension.Critical {
			return fmt.Errorf("%w: a revocation list with the critical extension %s", ErrMalformed, extension.Id)
		}
	}
	return nil
}

// follow checks that lists may replace those in force: the list of a trusted authority must neither be missing nor older.
func (r Revocations) follow(inForce Revocations, all []*x509.Certificate) error {
	for _, ca := range all {
		old, fresh := inForce[pin.Of(ca)], r[pin.Of(ca)]
		switch {
		case old == nil:
		case fresh == nil:
			return fmt.Errorf("%w: there is none of %s any more, and number %s was in force", ErrOlderList, ca.Subject, old.Number)
		case fresh.Number.Cmp(old.Number) < 0, fresh.Number.Cmp(old.Number) == 0 && !bytes.Equal(fresh.Raw, old.Raw):
			return fmt.Errorf("%w: number %s of %s does not follow number %s", ErrOlderList, fresh.Number, ca.Subject, old.Number)
		}
	}
	return nil
}

// of returns the lists of these authorities.
func (r Revocations) of(all []*x509.Certificate) Revocations {
	kept := Revocations{}
	for _, ca := range all {
		if list := r[pin.Of(ca)]; list != nil {
			kept[pin.Of(ca)] = list
		}
	}
	return kept
}

// encode writes the lists of these authorities, in their order.
func (r Revocations) encode(all []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, ca := range all {
		if list := r[pin.Of(ca)]; list != nil {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCRL, Bytes: list.Raw}))
		}
	}
	return out.Bytes()
}

// complete returns an error if a required list is missing or older than the known one. Authorities that promise no list and of
// which none is known, such as those of other tools and of earlier versions, need none.
func (r Revocations) complete(caPath string, all []*x509.Certificate) error {
	known, err := readRecords(filepath.Dir(caPath))
	if err != nil {
		return err
	}
	for _, ca := range all {
		about := known.listOf(ca)
		if err := r.current(ca, about); err != nil {
			advice := adviceList(filepath.Dir(caPath))
			if about == nil {
				advice = adviceForgotten
			}
			return &FileError{Path: crlPath(caPath), Err: err, Advice: advice}
		}
	}
	return nil
}

// current is complete for one authority.
func (r Revocations) current(ca *x509.Certificate, known *knownList) error {
	list := r[pin.Of(ca)]
	if list == nil {
		if known == nil && !promisesList(ca) {
			return nil
		}
		return fmt.Errorf("%w: of %s", ErrNoList, ca.Subject)
	}
	if known == nil {
		return nil
	}
	number, err := known.number()
	if err != nil {
		return err
	}
	if list.Number.Cmp(number) < 0 {
		return fmt.Errorf("%w: number %s of %s, and number %s is known", ErrOlderList, list.Number, ca.Subject, number)
	}
	return nil
}
