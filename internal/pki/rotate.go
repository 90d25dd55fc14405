package pki

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Stage is the stage of a rotation of the authority.
type Stage string

// The stages, in their order. StageNone is before and after every rotation.
const (
	StageNone     Stage = "none"
	StageTrusted  Stage = "trusted"  // both authorities are trusted, leaves are the old one's
	StageReissued Stage = "reissued" // both authorities are trusted, leaves are the new one's
)

// Rotation is the state of a rotation. Old and New are nil when there is none.
type Rotation struct {
	Stage   Stage        `json:"stage"`
	Started time.Time    `json:"started,omitzero"`
	Old     *Description `json:"old,omitempty"`
	New     *Description `json:"new,omitempty"`
	// Completed reports that only an interrupted earlier run was completed: the next step waits for the next run.
	Completed bool `json:"completed,omitempty"`
}

// RotateOptions refine Rotate; the zero value is usable.
type RotateOptions struct {
	KeyType KeyType // of the new authority; empty means the old one's
	Days    int     // of the new authority and leaves; zero means DefaultCADays, and the life of the leaf that is replaced
	// Finish retires the old authority without checking whether it is still in use.
	Finish bool
	// InUse lists the clients that still present a certificate of the old authority, a sentence each, before it is retired.
	// nil: that is not known.
	InUse func(old, fresh Description) []string
	Now   func() time.Time

	before hook
}

// InUseError has the reasons why the old authority is not retired yet.
type InUseError struct{ Reasons []string }

func (e *InUseError) Error() string {
	return "the old authority is still needed: " + strings.Join(e.Reasons, "; ")
}

// rotationState is the content of rotation.json.
type rotationState struct {
	Stage   Stage     `json:"stage"`
	Started time.Time `json:"started"`
	Old     string    `json:"old"` // fingerprint
	New     string    `json:"new"` // fingerprint
}

// RotationStatus returns the state of the rotation of dir.
func RotationStatus(dir string) (Rotation, error) { return openDirectory(dir, nil).rotation() }

// Rotate does the next step of replacing the authority of dir:
//
//  1. a new authority is trusted beside the old one;
//  2. the leaves of dir are reissued by the new one;
//  3. the old one is retired, unless it is still in use: then the error is an InUseError, and nothing has changed.
//
// Each step is atomic. Between two steps ca.pem and crl.pem must be copied to every machine that has them.
func Rotate(dir string, opts RotateOptions) (Rotation, error) {
	if err := (InitOptions{Days: opts.Days, KeyType: opts.KeyType}).Validate(); err != nil {
		return Rotation{}, err
	}
	var result Rotation
	err := edit(dir, opts.Now, opts.before, func(d *directory) error {
		at, err := d.rotation()
		if err != nil {
			return err
		}
		if d.completed {
			result = at
			result.Completed = true
			return nil
		}
		switch at.Stage {
		case StageTrusted:
			err = d.reissueAll(at, opts)
		case StageReissued:
			err = d.retire(at, opts)
		default:
			err = d.trustNew(opts)
		}
		if err != nil {
			return err
		}
		if err := d.commit(); err != nil {
			return err
		}
		result, err = d.rotation()
		return err
	})
	return result, err
}

// rotation reads the state of a rotation.
func (d *directory) rotation() (Rotation, error) {
	caPath, path := d.file(CACertFile), d.file(rotationFile)
	certs, err := d.trusted()
	if err != nil {
		return Rotation{}, err
	}
	if !d.has(rotationFile) {
		return Rotation{Stage: StageNone}, nil
	}
	var state rotationState
	if err := readJSON(path, &state, "put it back from a backup, or "+adviceForce); err != nil {
		return Rotation{}, err
	}
	r := Rotation{Stage: state.Stage, Started: state.Started.UTC()}
	for _, cert := range certs {
		switch about := describe(caPath, cert); about.FingerprintSHA256 {
		case state.Old:
			r.Old = &about
		case state.New:
			r.New = &about
		}
	}
	if r.Old == nil || r.New == nil || r.Stage != StageTrusted && r.Stage != StageReissued {
		err := fmt.Errorf("%w: it names authorities that are not both in %s", ErrMalformed, caPath)
		return Rotation{}, &FileError{Path: path, Err: err, Advice: "put both files back from a backup, or " + adviceForce}
	}
	return r, nil
}

// putRotation writes the state of a rotation; old and fresh are fingerprints.
func (d *directory) putRotation(stage Stage, started time.Time, old, fresh string) {
	data, err := json.MarshalIndent(rotationState{Stage: stage, Started: started.UTC().Truncate(time.Second), Old: old, New: fresh}, "", "  ")
	d.fail(err)
	d.put(rotationFile, append(data, '\n'))
}

// trustNew is the first step.
func (d *directory) trustNew(opts RotateOptions) error {
	certs, lists, _, err := d.read()
	if err != nil {
		return err
	}
	old, err := d.ownAuthority(certs)
	if err != nil {
		return err
	}
	if err := lists.complete(d.file(CACertFile), certs); err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	name := authorityName(d.now)
	if slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return c.Subject.CommonName == name }) {
		// Two authorities of the same day would have the same name in a log.
		name += " " + serial.Text(16)[24:]
	}
	fresh, err := NewAuthority(Request{
		CommonName: name, KeyType: cmp.Or(opts.KeyType, keyTypeOf(old)), Now: d.now, Days: cmp.Or(opts.Days, DefaultCADays),
	})
	if err != nil {
		return err
	}
	list, err := fresh.Revoked(nil, nil, d.now)
	if err != nil {
		return err
	}
	d.setList(fresh.Certificate, list)
	d.trust(append(slices.Clone(certs), fresh.Certificate))
	d.putKey(nextCAKey, fresh.Pair)
	d.putRotation(StageTrusted, d.now, Fingerprint(old), Fingerprint(fresh.Certificate))
	return nil
}

// ownAuthority is the authority that this directory's certificates are made with: that of ca-key.pem, or, where the key is
// kept elsewhere, the one that signed the leaves.
func (d *directory) ownAuthority(certs []*x509.Certificate) (*x509.Certificate, error) {
	a, missing := d.signer("")
	if missing == nil {
		return a.Certificate, nil
	}
	if !errors.Is(missing, ErrMissing) {
		return nil, missing
	}
	for here, err := range d.leaves() {
		if err != nil {
			return nil, err
		}
		if issuer := issuerOf(here.certificate, certs); issuer != nil {
			return issuer, nil
		}
	}
	return nil, missing
}

// reissueAll is the second step.
func (d *directory) reissueAll(at Rotation, opts RotateOptions) error {
	authority, err := d.signer(d.file(nextCAKey))
	if err != nil {
		return err
	}
	if Fingerprint(authority.Certificate) != at.New.FingerprintSHA256 {
		return &FileError{Path: d.file(nextCAKey), Err: ErrMismatch, Advice: adviceForce}
	}
	for old, err := range d.leaves() {
		if err != nil {
			return err
		}
		if _, _, err := d.reissue(old, authority, opts.Days, false); err != nil {
			return err
		}
	}
	if d.has(CAKeyFile) {
		// Until it is retired, certificates of the old authority can be revoked.
		key, err := ReadFile(d.file(CAKeyFile))
		if err != nil {
			return err
		}
		d.put(oldCAKey, key)
	}
	d.putKey(CAKeyFile, authority.Pair)
	d.drop(nextCAKey)
	d.putRotation(StageReissued, at.Started, at.Old.FingerprintSHA256, at.New.FingerprintSHA256)
	return nil
}

// retire is the third step.
func (d *directory) retire(at Rotation, opts RotateOptions) error {
	if !opts.Finish {
		reasons, err := d.stillNeeded(at)
		if err != nil {
			return err
		}
		if opts.InUse == nil {
			reasons = append(reasons, "it is not known which clients present its certificates")
		} else {
			reasons = append(reasons, opts.InUse(*at.Old, *at.New)...)
		}
		if len(reasons) > 0 {
			return &InUseError{Reasons: reasons}
		}
	}
	certs, _, known, err := d.read()
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return Fingerprint(c) == at.Old.FingerprintSHA256 })
	d.trust(left)
	known.Certificates = slices.DeleteFunc(known.Certificates, func(c record) bool { return c.AuthorityKeyID == at.Old.KeyID })
	known.Lists = slices.DeleteFunc(known.Lists, func(l knownList) bool { return l.AuthorityKeyID == at.Old.KeyID })
	d.recordsDirty = true
	d.drop(oldCAKey, rotationFile)
	return nil
}

// stillNeeded returns the reasons against retiring the old authority that this directory shows.
func (d *directory) stillNeeded(at Rotation) ([]string, error) {
	revoked, err := d.revokedSerials()
	if err != nil {
		return nil, err
	}
	known, err := d.records()
	if err != nil {
		return nil, err
	}
	var reasons []string
	for _, r := range known.Certificates {
		if r.AuthorityKeyID == at.Old.KeyID && !r.Replaced && d.now.Before(r.NotAfter) && !revoked[r.AuthorityKeyID+"/"+r.Serial] {
			reasons = append(reasons, fmt.Sprintf("%s (%s, serial number %s) is its certificate: issue a new one and revoke this one", r.Path, r.Subject, r.Serial))
		}
	}
	for here, err := range d.leaves() {
		if err == nil && AuthorityKeyID(here.certificate) == at.Old.KeyID {
			reasons = append(reasons, fmt.Sprintf("%s is its certificate: run berth certs renew --force", d.file(here.cert)))
		}
	}
	return reasons, nil
}
