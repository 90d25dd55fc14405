package pki

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"time"

	"berth/internal/fileset"
	"berth/internal/pin"
)

// knownList is what the records say of one authority's revocation list, so that a list which was lost or replaced by an
// older one is noticed, and made anew with nothing forgotten.
type knownList struct {
	AuthorityKeyID string            `json:"authority_key_id"` // hexadecimal
	Number         string            `json:"number"`           // decimal; of the newest list
	Revoked        []knownRevocation `json:"revoked,omitempty"`
}

type knownRevocation struct {
	Serial    string    `json:"serial"` // hexadecimal
	RevokedAt time.Time `json:"revoked_at"`
}

// listMarker is the distribution point in the certificate of an authority whose lists are handed out with it: who trusts
// such an authority without one of its lists has lost it. It is a name and no address; nothing fetches it.
const listMarker = "urn:berth:crl.pem"

// promisesList reports whether an authority says of itself that there is always a list.
func promisesList(ca *x509.Certificate) bool {
	return slices.Contains(ca.CRLDistributionPoints, listMarker)
}

// listOf is what is known of an authority's list; nil if nothing is.
func (r *records) listOf(ca *x509.Certificate) *knownList {
	i := slices.IndexFunc(r.Lists, func(l knownList) bool { return l.AuthorityKeyID == keyID(ca) })
	if i < 0 {
		return nil
	}
	return &r.Lists[i]
}

// noteList remembers an authority's newest list.
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

// continued is the list that the next one has to follow: list, with everything of known that is not in it. Both may be nil.
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
		if !slices.ContainsFunc(whole.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 }) {
			whole.RevokedCertificateEntries = append(whole.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: r.RevokedAt})
		}
	}
	return whole, nil
}

// complete refuses lists of which one is missing that should be there, or is older than one that is known. Authorities that
// promise no list and of which none is known, those of other tools and of earlier versions, need none.
func (r revocations) complete(caPath string, all []*x509.Certificate) error {
	dir := &directory{path: filepath.Dir(caPath)}
	known, err := readRecords(dir)
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
func (r revocations) current(ca *x509.Certificate, known *knownList) error {
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

// restoreLists makes the list of every authority whose key is here and whose list is missing or older than the known one,
// with everything that is known to be revoked. It answers how many certificates the lists of the directory refuse now; nil
// if there was nothing to do. A list of which nothing is known is begun anew only with forget.
func (d *directory) restoreLists(now time.Time, forget bool) (*int, error) {
	caPath := d.file(CACertFile)
	all, err := ReadCertificates(caPath)
	if err != nil {
		return nil, err
	}
	lists, err := readRevocations(caPath, all)
	if err != nil {
		return nil, err
	}
	if lists == nil {
		lists = revocations{}
	}
	known, err := readRecords(d)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, name := range []string{CAKeyFile, oldCAKey, nextCAKey} {
		if !d.has(name) {
			continue
		}
		authority, err := findAuthority(d, d.file(name))
		if err != nil {
			return nil, err
		}
		key, about := pin.Of(authority.Certificate), known.listOf(authority.Certificate)
		if lists[key] != nil && about != nil && lists.current(authority.Certificate, about) == nil {
			continue
		}
		if !forget {
			if err := lists.forgotten(d, authority.Certificate, about); err != nil {
				return nil, err
			}
		}
		if lists[key] == nil || about != nil {
			previous, err := about.continued(lists[key])
			if err != nil {
				return nil, &FileError{Path: d.file(recordsFile), Err: err, Advice: "put it back from a backup"}
			}
			if lists[key], err = authority.Revoked(previous, nil, now); err != nil {
				return nil, err
			}
		}
		known.noteList(authority.Certificate, lists[key])
		changed = true
	}
	if !changed {
		return nil, nil
	}
	record, err := known.encode(now)
	if err != nil {
		return nil, err
	}
	revoked := 0
	for _, list := range lists {
		revoked += len(list.RevokedCertificateEntries)
	}
	return &revoked, d.apply(fileset.Change{Write: map[string][]byte{CRLFile: lists.encode(all), recordsFile: record}})
}

// forgotten is an error when an authority's list is lost and nothing tells what was on it.
func (r revocations) forgotten(d *directory, ca *x509.Certificate, about *knownList) error {
	if about != nil || r[pin.Of(ca)] != nil || !promisesList(ca) {
		return nil
	}
	return &FileError{Path: d.file(CRLFile), Err: fmt.Errorf("%w: of %s", ErrNoList, ca.Subject), Advice: adviceForgotten}
}

// listWarnings speak of lists that others have let become overdue; they hold nevertheless.
func listWarnings(caPath string, lists revocations, now time.Time) []Warning {
	var warnings []Warning
	for _, list := range lists {
		if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
			text := fmt.Sprintf("the list of %s should have been replaced by %s; it is enforced as it is", list.Issuer, list.NextUpdate.UTC().Format(time.DateOnly))
			warnings = append(warnings, Warning{Code: WarnListOverdue, Path: crlPath(caPath), Text: text})
		}
	}
	return warnings
}
