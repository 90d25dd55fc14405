package pki

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"math"
	"time"
)

// RenewOptions say how Renew replaces leaves; the zero value replaces those that are past two thirds of their life.
type RenewOptions struct {
	Force   bool   // replace all, whatever their age
	KeepKey bool   // keep private keys, and so pins; a revoked certificate gets a new key nevertheless
	Days    int    // zero means the life of the certificate that is replaced
	CAKey   string // file of the authority's key; empty means the one of the directory
	Now     func() time.Time

	before hook
}

// Renewal is the result of Renew: the new certificates, and those that stay.
type Renewal struct {
	Renewed  []Description `json:"renewed"`
	Kept     []Description `json:"kept"`
	Warnings []Warning     `json:"warnings,omitempty"`
}

// Renew replaces the leaves of dir that are past two thirds of their life or revoked, with the same subject and names, all
// of them at once. A second run finds nothing to do.
func Renew(dir string, opts RenewOptions) (Renewal, error) {
	if err := (InitOptions{Days: opts.Days}).Validate(); err != nil {
		return Renewal{}, err
	}
	var result Renewal
	err := edit(dir, opts.Now, opts.before, func(d *directory) error {
		all, err := d.trusted()
		if err != nil {
			return err
		}
		lists, err := d.lists()
		if err != nil {
			return err
		}
		var authority *Authority
		for old, err := range d.leaves() {
			if err != nil {
				return err
			}
			issuer := issuerOf(old.certificate, all)
			if issuer == nil {
				return &FileError{Path: d.file(old.cert), Err: ErrUntrusted, Advice: adviceForce}
			}
			gone := lists.Has(issuer, old.certificate.SerialNumber)
			if !opts.Force && !gone && d.now.Before(renewalTime(old.certificate)) {
				result.Kept = append(result.Kept, describe(d.file(old.cert), old.certificate))
				continue
			}
			if authority == nil {
				if authority, err = d.issuer(opts.CAKey); err != nil {
					return err
				}
			}
			made, warnings, err := d.reissue(old, authority, opts.Days, opts.KeepKey && !gone)
			if err != nil {
				return err
			}
			result.Renewed, result.Warnings = append(result.Renewed, made), append(result.Warnings, warnings...)
		}
		if len(result.Renewed)+len(result.Kept) == 0 {
			return &FileError{Path: d.file(ClientCertFile), Err: ErrMissing, Advice: adviceInit}
		}
		return d.commit()
	})
	return result, err
}

// renewalTime returns the time at two thirds of a certificate's validity.
func renewalTime(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3)
}

// reissue makes the successor of a leaf and records the old one: it stays valid until it expires or is revoked.
// Zero days mean its life.
func (d *directory) reissue(old leaf, by *Authority, days int, keepKey bool) (Description, []Warning, error) {
	path, cert := d.file(old.cert), old.certificate
	if kind := kindOf(cert); kind != KindServer && kind != KindClient {
		return Description{}, nil, &FileError{Path: path, Err: errKind(kind), Advice: adviceForce}
	}
	var key crypto.Signer
	if keepKey {
		pair, err := readPair(path, d.file(old.key), cert.NotBefore)
		if err != nil {
			return Description{}, nil, err
		}
		key = pair.PrivateKey.(crypto.Signer)
	}
	days = cmp.Or(days, lifeOf(cert))
	fresh, err := by.reissue(cert, key, days, d.now)
	if err != nil {
		return Description{}, nil, err
	}
	d.putPair(old.pairFiles, fresh)
	d.remember(describe(path, cert), true)
	made := describe(path, fresh.Certificate)
	return made, append(lifeWarnings(path, fresh, by, days), d.rotationWarnings(made)...), nil
}

// lifeOf returns the requested validity of a certificate in days, without the clock skew before its issue.
func lifeOf(cert *x509.Certificate) int {
	days := math.Ceil((cert.NotAfter.Sub(cert.NotBefore) - clockSkew).Hours() / 24)
	return max(1, min(int(days), maxDays))
}

// reissue makes a certificate with the subject, names and usage of old. Without a key it makes one of the type of old's.
func (a *Authority) reissue(old *x509.Certificate, key crypto.Signer, days int, now time.Time) (Pair, error) {
	fresh, err := template(Request{RawSubject: old.RawSubject, Now: now, Days: days})
	if err != nil {
		return Pair{}, err
	}
	fresh.DNSNames, fresh.IPAddresses = old.DNSNames, old.IPAddresses
	fresh.URIs, fresh.EmailAddresses = old.URIs, old.EmailAddresses
	fresh.ExtKeyUsage = old.ExtKeyUsage
	if key == nil {
		if key, err = newKey(keyTypeOf(old)); err != nil {
			return Pair{}, err
		}
	}
	return a.issueFor(fresh, key)
}

// keyTypeOf returns the type of a new key that replaces a certificate's: ECDSA for types that we do not make.
func keyTypeOf(cert *x509.Certificate) KeyType {
	if _, ok := cert.PublicKey.(ed25519.PublicKey); ok {
		return Ed25519
	}
	return ECDSA
}
