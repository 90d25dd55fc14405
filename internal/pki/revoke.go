package pki

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"berth/internal/fileset"
)

// RevokeOptions refine Revoke; the zero value is usable.
type RevokeOptions struct {
	CAKey string // file of the authority's key; empty means the one of the directory
	Force bool   // revoke a serial number that this directory does not know, and discard an unreadable list
	Now   func() time.Time

	ForgetRevocations bool // as in InitOptions

	before hook
}

// Revocation is the result of Revoke.
type Revocation struct {
	Outcome     Outcome      `json:"outcome"` // Created, or Unchanged when it was revoked before
	Serial      string       `json:"serial"`  // hexadecimal
	Certificate *Description `json:"certificate,omitempty"`
	List        string       `json:"list"`   // file of the list
	Number      string       `json:"number"` // of the list
	Warnings    []Warning    `json:"warnings,omitempty"`
}

// Revoke adds a certificate to crl.pem of dir, which guards enforce. what is a certificate's file, its serial number, or its
// SHA-256 fingerprint, both hexadecimal. Authorities cannot be revoked: they are rotated.
func Revoke(dir, what string, opts RevokeOptions) (Revocation, error) {
	var result Revocation
	err := edit(dir, opts.Now, opts.before, func(d *directory) error {
		target, err := d.find(what, opts.Force)
		if err != nil {
			return err
		}
		signers, err := d.revokers(opts.CAKey, target)
		if err != nil {
			return err
		}
		if _, err := d.lists(); err != nil {
			if !opts.Force {
				return err
			}
			lost := Revocations{}
			d.lists = func() (Revocations, error) { return lost, nil }
		}
		result = Revocation{Outcome: Unchanged, Serial: target.serial.Text(16), Certificate: target.about, List: d.file(CRLFile)}
		for _, signer := range signers {
			list, added, err := d.extend(signer, target.serial, opts.ForgetRevocations)
			if err != nil {
				return err
			}
			if added {
				result.Outcome = Created
			}
			result.Number = list.Number.String()
		}
		for here, err := range d.leaves() {
			if err == nil && target.about != nil && target.about.Path == d.file(here.cert) {
				text := "stands in this directory and is refused from now on: run berth certs renew"
				result.Warnings = append(result.Warnings, Warning{Code: WarnRevoked, Path: target.about.Path, Text: text})
			}
		}
		return d.commit()
	})
	return result, err
}

// target is a certificate to revoke: its number, and its description if known.
type target struct {
	serial *big.Int
	cert   *x509.Certificate
	about  *Description // nil if not known
}

// find looks up a certificate in the files and the records of the directory.
func (d *directory) find(what string, force bool) (target, error) {
	if fileset.Exists(what) {
		return findFile(what)
	}
	ref, err := parseReference(what)
	if err != nil {
		return target{}, err
	}
	for here, err := range d.leaves() {
		if err != nil {
			return target{}, err
		}
		if about := describe(d.file(here.cert), here.certificate); ref.names(about) {
			return target{serial: here.certificate.SerialNumber, cert: here.certificate, about: &about}, nil
		}
	}
	known, err := d.records()
	if err != nil {
		return target{}, err
	}
	for _, r := range known.Certificates {
		serial, ok := new(big.Int).SetString(r.Serial, 16)
		if ok && ref.names(r.Description) {
			return target{serial: serial, about: &r.Description}, nil
		}
	}
	if force && ref.serial != nil {
		return target{serial: ref.serial}, nil
	}
	return target{}, fmt.Errorf("%w has the %s: name its file, or the right directory with --dir", ErrUnknown, ref)
}

func findFile(path string) (target, error) {
	certs, err := ReadCertificates(path)
	if err != nil {
		return target{}, err
	}
	about := describe(path, certs[0])
	if about.Kind == KindCA {
		return target{}, &FileError{Path: path, Err: errKind(KindCA), Advice: `an authority cannot be revoked; "berth certs rotate" replaces it`}
	}
	return target{serial: certs[0].SerialNumber, cert: certs[0], about: &about}, nil
}

// revokers are the authorities with a list that must name the target: its own, or all that can sign when that is not known.
func (d *directory) revokers(keyPath string, t target) ([]*Authority, error) {
	first, err := d.signer(keyPath)
	if err != nil {
		return nil, err
	}
	rotating, err := d.signers(oldCAKey, nextCAKey)
	if err != nil {
		return nil, err
	}
	found := append([]*Authority{first}, rotating...)
	if t.about == nil {
		return found, nil
	}
	own := slices.DeleteFunc(found, func(a *Authority) bool {
		if t.cert != nil {
			return t.cert.CheckSignatureFrom(a.Certificate) != nil
		}
		return t.about.AuthorityKeyID != keyID(a.Certificate)
	})
	if len(own) == 0 {
		return nil, &FileError{Path: t.about.Path, Err: fmt.Errorf("%w %s", ErrUntrusted, d.path), Advice: adviceAuthority}
	}
	return own, nil
}

// reference names a certificate by one of two numbers.
type reference struct {
	serial      *big.Int
	fingerprint string // 64 hexadecimal digits
}

const (
	maxSerialDigits   = 40 // RFC 5280: 20 octets
	fingerprintDigits = 64
)

// parseReference reads a serial number or a SHA-256 fingerprint: hexadecimal, with colons or without, in either case.
func parseReference(text string) (reference, error) {
	digits := strings.ToLower(strings.TrimSpace(text))
	for _, prefix := range []string{"sha256:", "sha256 fingerprint=", "serial=", "0x"} {
		digits = strings.TrimPrefix(digits, prefix)
	}
	digits = strings.ReplaceAll(digits, ":", "")
	refused := fmt.Errorf("%q is neither a file nor a serial number or SHA-256 fingerprint in hexadecimal", text)
	if digits == "" || strings.Trim(digits, "0123456789abcdef") != "" {
		return reference{}, refused
	}
	if len(digits) == fingerprintDigits {
		return reference{fingerprint: digits}, nil
	}
	serial, ok := new(big.Int).SetString(digits, 16)
	if !ok || len(digits) > maxSerialDigits || serial.Sign() == 0 {
		return reference{}, refused
	}
	return reference{serial: serial}, nil
}

func (r reference) names(d Description) bool {
	if r.serial != nil {
		return d.Serial == r.serial.Text(16)
	}
	return d.FingerprintSHA256 == r.fingerprint
}

// String returns the number that was looked up.
func (r reference) String() string {
	if r.serial != nil {
		return "serial number " + r.serial.Text(16)
	}
	return "fingerprint " + r.fingerprint
}
