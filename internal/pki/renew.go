package pki

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"math"
	"time"

	"berth/internal/fileset"
)

// RenewOptions say how Renew replaces leaves; the zero value replaces those whose time has come.
type RenewOptions struct {
	Force   bool   // replace all, whatever their age
	KeepKey bool   // keep private keys, and with them pins; a revoked certificate gets a new key all the same
	Days    int    // zero means the life of the certificate that is replaced
	CAKey   string // file of the authority's key; empty means the one of the directory
	Now     func() time.Time
}

// Renewal is what Renew did: the new certificates, and those that stay.
type Renewal struct {
	Renewed  []Description `json:"renewed"`
	Kept     []Description `json:"kept"`
	Warnings []Warning     `json:"warnings,omitempty"`
}

// Renew replaces the leaves of dir that are past two thirds of their life or revoked, with the same subject and names, all
// of them at once. A second run finds nothing to do.
func Renew(dir string, opts RenewOptions) (Renewal, error) { return renew(dir, opts, noHook) }

func renew(dir string, opts RenewOptions, before hook) (Renewal, error) {
	if err := (InitOptions{Days: opts.Days}).Validate(); err != nil {
		return Renewal{}, err
	}
	now := clockOf(opts.Now)
	var result Renewal
	err := edit(dir, before, func(d *directory) error {
		leaves := d.leaves()
		if len(leaves) == 0 {
			return &FileError{Path: d.file(ClientCertFile), Err: ErrMissing, Advice: adviceInit}
		}
		all, err := ReadCertificates(d.file(CACertFile))
		if err != nil {
			return err
		}
		revoked, err := readRevocations(d.file(CACertFile), all)
		if err != nil {
			return err
		}
		r := &reissue{d: d, now: now, days: opts.Days, write: map[string][]byte{}}
		for _, names := range leaves {
			old, err := d.leaf(names.cert)
			if err != nil {
				return err
			}
			issuer := issuerOf(old, all)
			if issuer == nil {
				return &FileError{Path: d.file(names.cert), Err: ErrUntrusted, Advice: adviceForce}
			}
			gone := revoked.has(issuer, old.SerialNumber)
			if !opts.Force && !gone && now.Before(renewalTime(old)) {
				result.Kept = append(result.Kept, describe(d.file(names.cert), old))
				continue
			}
			if r.authority == nil {
				if r.authority, err = openAuthority(d, opts.CAKey, now); err != nil {
					return err
				}
			}
			if err := r.replace(names, old, opts.KeepKey && !gone); err != nil {
				return err
			}
		}
		result.Renewed, result.Warnings = r.made, r.warnings
		if len(r.made) == 0 {
			return nil
		}
		if err := r.record(); err != nil {
			return err
		}
		return d.apply(fileset.Change{Write: r.write})
	})
	return result, err
}

// renewalTime is two thirds into a certificate's life.
func renewalTime(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3)
}

// reissue collects what replaces the leaves of a directory.
type reissue struct {
	d         *directory
	authority *Authority
	now       time.Time
	days      int
	write     map[string][]byte
	replaced  []Description
	made      []Description
	warnings  []Warning
}

// replace makes the successor of a leaf.
func (r *reissue) replace(names leafFiles, old *x509.Certificate, keepKey bool) error {
	path := r.d.file(names.cert)
	if kind := kindOf(old); kind != KindServer && kind != KindClient {
		return &FileError{Path: path, Err: errKind(kind), Advice: adviceForce}
	}
	var key crypto.Signer
	if keepKey {
		pair, err := readPair(path, r.d.file(names.key), old.NotBefore)
		if err != nil {
			return err
		}
		key = pair.PrivateKey.(crypto.Signer)
	}
	days := cmp.Or(r.days, lifeOf(old))
	fresh, err := r.authority.reissue(old, key, days, r.now)
	if err != nil {
		return err
	}
	keyPEM, err := fresh.KeyPEM()
	if err != nil {
		return err
	}
	r.write[names.cert], r.write[names.key] = fresh.CertPEM(), keyPEM
	r.replaced = append(r.replaced, describe(path, old))
	r.made = append(r.made, describe(path, fresh.Certificate))
	r.warnings = append(r.warnings, lifeWarnings(path, fresh, r.authority, days)...)
	r.warnings = append(r.warnings, r.d.rotationWarnings(describe(path, fresh.Certificate))...)
	return nil
}

// record notes those that were replaced: whoever has one of them is admitted until it expires or is revoked.
func (r *reissue) record() error {
	known, err := readRecords(r.d)
	if err != nil {
		return err
	}
	for _, old := range r.replaced {
		known.add(old, true)
	}
	r.write[recordsFile], err = known.encode(r.now)
	return err
}

// lifeOf is the life of a certificate in days, as it was asked for: the time before its making does not count.
func lifeOf(cert *x509.Certificate) int {
	days := math.Ceil((cert.NotAfter.Sub(cert.NotBefore) - clockSkew).Hours() / 24)
	return max(1, min(int(days), maxDays))
}

// reissue makes a certificate with the subject, names and usage of old. Without a key it makes one of the type of old's.
func (a *Authority) reissue(old *x509.Certificate, key crypto.Signer, days int, now time.Time) (Pair, error) {
	fresh, err := template(Request{CommonName: old.Subject.CommonName, Now: now, Days: days})
	if err != nil {
		return Pair{}, err
	}
	fresh.RawSubject = old.RawSubject
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

// keyTypeOf is the type of new keys in the place of a certificate's: ECDSA for those that we do not make.
func keyTypeOf(cert *x509.Certificate) KeyType {
	if _, ok := cert.PublicKey.(ed25519.PublicKey); ok {
		return Ed25519
	}
	return ECDSA
}

func encodeCertificates(certs []*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: cert.Raw})...)
	}
	return out
}
