package pki

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	"berth/internal/pin"
)

// signer is the authority of ca.pem that the key in a file belongs to; an empty name is ca-key.pem.
func (d *directory) signer(keyPath string) (*Authority, error) {
	if keyPath == "" {
		keyPath = d.file(CAKeyFile)
	}
	key, err := ReadKey(keyPath)
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrMalformed) {
		return nil, advise(err, adviceAuthority)
	}
	if err != nil {
		return nil, err
	}
	certs, err := d.trusted()
	if err != nil {
		return nil, err
	}
	for _, cert := range certs {
		if matches(cert, key) {
			return &Authority{Pair{Certificate: cert, key: key}}, nil
		}
	}
	return nil, &FileError{Path: keyPath, Err: fmt.Errorf("%w %s", ErrMismatch, d.file(CACertFile)), Advice: adviceAuthority}
}

// signers returns the authorities of the keys in those of these files that exist.
func (d *directory) signers(keyFiles ...string) ([]*Authority, error) {
	var found []*Authority
	for _, name := range keyFiles {
		if !d.has(name) {
			continue
		}
		a, err := d.signer(d.file(name))
		if err != nil {
			return nil, err
		}
		found = append(found, a)
	}
	return found, nil
}

// issuer returns a signer that has not expired.
func (d *directory) issuer(keyPath string) (*Authority, error) {
	a, err := d.signer(keyPath)
	if err != nil {
		return nil, err
	}
	if err := checkTime(a.Certificate, d.now); err != nil {
		path := d.file(CACertFile)
		return nil, &FileError{Path: path, Err: err, Advice: authorityAdvice(path, err)}
	}
	return a, nil
}

// extend makes the next list of an authority, with a serial number added to its earlier entries; nil adds none. The list is
// unchanged if it has the number already and is not older than the known one. A missing list of which nothing is known is
// started only with forget. added reports whether the number is new.
func (d *directory) extend(a *Authority, serial *big.Int, forget bool) (list *x509.RevocationList, added bool, err error) {
	_, lists, known, err := d.read()
	if err != nil {
		return nil, false, err
	}
	ca := a.Certificate
	list, about := lists[pin.Of(ca)], known.listOf(ca)
	if list == nil && about == nil && promisesList(ca) && !forget {
		return nil, false, &FileError{Path: d.file(CRLFile), Err: fmt.Errorf("%w: of %s", ErrNoList, ca.Subject), Advice: adviceForgotten}
	}
	if list == nil || lists.current(ca, about) != nil || serial != nil && !includes(list, serial) {
		previous, err := about.continued(list)
		if err != nil {
			return nil, false, &FileError{Path: d.file(recordsFile), Err: err, Advice: "put it back from a backup"}
		}
		var more []*big.Int
		if added = serial != nil && !includes(previous, serial); added {
			more = append(more, serial)
		}
		if list, err = a.Revoked(previous, more, d.now); err != nil {
			return nil, false, err
		}
	}
	if about == nil || about.Number != list.Number.String() {
		d.setList(ca, list)
	}
	return list, added, nil
}

// issuerOf returns the authority that signed a certificate; nil if none of these did.
func issuerOf(cert *x509.Certificate, all []*x509.Certificate) *x509.Certificate {
	for _, ca := range all {
		if cert.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

func keyID(ca *x509.Certificate) string { return hex.EncodeToString(ca.SubjectKeyId) }
