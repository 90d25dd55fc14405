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

	"berth/internal/fileset"
	"berth/internal/pin"
)

// Stage is how far a rotation of the authority has come.
type Stage string

// The stages, in their order. StageNone is before and after every rotation.
const (
	StageNone     Stage = "none"
	StageTrusted  Stage = "trusted"  // both authorities are trusted, leaves are the old one's
	StageReissued Stage = "reissued" // both authorities are trusted, leaves are the new one's
)

// Rotation is where a rotation stands. Old and New are nil when there is none.
type Rotation struct {
	Stage   Stage        `json:"stage"`
	Started time.Time    `json:"started,omitzero"`
	Old     *Description `json:"old,omitempty"`
	New     *Description `json:"new,omitempty"`
	// Completed tells that only an interrupted earlier run was completed: the next step waits for the next run.
	Completed bool `json:"completed,omitempty"`
}

// RotateOptions refine Rotate; the zero value is usable.
type RotateOptions struct {
	KeyType KeyType // of the new authority; empty means the old one's
	Days    int     // of the new authority and leaves; zero means DefaultCADays, and the life of the leaf that is replaced
	// Finish retires the old authority without asking who still uses it.
	Finish bool
	// InUse says who still presents a certificate of the old authority, a sentence each, before it is retired. nil: nobody
	// can say.
	InUse func(old, fresh Description) []string
	Now   func() time.Time
}

// InUseError says why the old authority is not retired yet.
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

// RotationStatus says where the rotation of dir stands.
func RotationStatus(dir string) (Rotation, error) {
	return (&directory{path: dir}).rotation()
}

// Rotate does the next step of replacing the authority of dir:
//
//  1. a new authority is trusted beside the old one;
//  2. the leaves of dir are reissued by the new one;
//  3. the old one is retired, unless somebody still needs it: then the error is an InUseError, and nothing has changed.
//
// Each step happens whole or not at all. Between two steps ca.pem and crl.pem must reach everybody who has a copy.
func Rotate(dir string, opts RotateOptions) (Rotation, error) { return rotate(dir, opts, noHook) }

func rotate(dir string, opts RotateOptions, before hook) (Rotation, error) {
	if err := (InitOptions{Days: opts.Days, KeyType: opts.KeyType}).Validate(); err != nil {
		return Rotation{}, err
	}
	now := clockOf(opts.Now).UTC()
	var result Rotation
	err := edit(dir, before, func(d *directory) error {
		at, err := d.rotation()
		if err != nil {
			return err
		}
		if d.completed {
			result = at
			result.Completed = true
			return nil
		}
		var step fileset.Change
		switch at.Stage {
		case StageTrusted:
			step, err = d.reissueAll(at, opts, now)
		case StageReissued:
			step, err = d.retire(at, opts, now)
		default:
			step, err = d.trustNew(opts, now)
		}
		if err != nil {
			return err
		}
		if err := d.apply(step); err != nil {
			return err
		}
		result, err = d.rotation()
		return err
	})
	return result, err
}

// rotation reads how far a rotation has come.
func (d *directory) rotation() (Rotation, error) {
	caPath, path := d.file(CACertFile), d.file(rotationFile)
	certs, err := ReadCertificates(caPath)
	if err != nil {
		return Rotation{}, err
	}
	if !fileset.Exists(path) {
		return Rotation{Stage: StageNone}, nil
	}
	data, err := ReadFile(path)
	if err != nil {
		return Rotation{}, err
	}
	var state rotationState
	if err := json.Unmarshal(data, &state); err != nil {
		return Rotation{}, &FileError{Path: path, Err: fmt.Errorf("%w: %w", ErrMalformed, err), Advice: "put it back from a backup, or " + adviceForce}
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
		err := fmt.Errorf("%w: it speaks of authorities that are not both in %s", ErrMalformed, caPath)
		return Rotation{}, &FileError{Path: path, Err: err, Advice: "put both files back from a backup, or " + adviceForce}
	}
	return r, nil
}

func encodeRotation(stage Stage, started time.Time, old, fresh string) ([]byte, error) {
	data, err := json.MarshalIndent(rotationState{Stage: stage, Started: started.Truncate(time.Second), Old: old, New: fresh}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write state of the rotation: %w", err)
	}
	return append(data, '\n'), nil
}

// trustNew is the first step.
func (d *directory) trustNew(opts RotateOptions, now time.Time) (fileset.Change, error) {
	certs, err := ReadCertificates(d.file(CACertFile))
	if err != nil {
		return fileset.Change{}, err
	}
	old, err := d.ownAuthority(certs)
	if err != nil {
		return fileset.Change{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return fileset.Change{}, err
	}
	name := "Berth CA " + now.Format(time.DateOnly)
	if slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return c.Subject.CommonName == name }) {
		// Two authorities of one name and day could not be told apart in a log.
		name += " " + serial.Text(16)[24:]
	}
	fresh, err := NewAuthority(Request{
		CommonName: name, KeyType: cmp.Or(opts.KeyType, keyTypeOf(old)), Now: now, Days: cmp.Or(opts.Days, DefaultCADays),
	})
	if err != nil {
		return fileset.Change{}, err
	}
	key, err := fresh.KeyPEM()
	if err != nil {
		return fileset.Change{}, err
	}
	lists, known, err := d.withList(fresh, certs, now)
	if err != nil {
		return fileset.Change{}, err
	}
	state, err := encodeRotation(StageTrusted, now, Fingerprint(old), Fingerprint(fresh.Certificate))
	if err != nil {
		return fileset.Change{}, err
	}
	return fileset.Change{Write: map[string][]byte{
		CACertFile: encodeCertificates(append(certs, fresh.Certificate)), nextCAKey: key, rotationFile: state,
		CRLFile: lists, recordsFile: known,
	}}, nil
}

// withList is the content of crl.pem and of the records with an empty list of a new authority added.
func (d *directory) withList(fresh *Authority, certs []*x509.Certificate, now time.Time) (crl, record []byte, err error) {
	lists, err := readRevocations(d.file(CACertFile), certs)
	if err != nil {
		return nil, nil, err
	}
	if err := lists.complete(d.file(CACertFile), certs); err != nil {
		return nil, nil, err
	}
	known, err := readRecords(d)
	if err != nil {
		return nil, nil, err
	}
	list, err := fresh.Revoked(nil, nil, now)
	if err != nil {
		return nil, nil, err
	}
	all := append(slices.Clone(certs), fresh.Certificate)
	lists = lists.of(all)
	lists[pin.Of(fresh.Certificate)] = list
	known.noteList(fresh.Certificate, list)
	record, err = known.encode(now)
	return lists.encode(all), record, err
}

// ownAuthority is the authority that this directory's certificates are made with: that of ca-key.pem, or, where the key is
// kept elsewhere, the one that signed the leaves.
func (d *directory) ownAuthority(certs []*x509.Certificate) (*x509.Certificate, error) {
	a, err := findAuthority(d, d.file(CAKeyFile))
	if err == nil {
		return a.Certificate, nil
	}
	if !errors.Is(err, ErrMissing) {
		return nil, err
	}
	for _, names := range d.leaves() {
		leaf, err := d.leaf(names.cert)
		if err != nil {
			return nil, err
		}
		if issuer := issuerOf(leaf, certs); issuer != nil {
			return issuer, nil
		}
	}
	return nil, err
}

// reissueAll is the second step.
func (d *directory) reissueAll(at Rotation, opts RotateOptions, now time.Time) (fileset.Change, error) {
	authority, err := findAuthority(d, d.file(nextCAKey))
	if err != nil {
		return fileset.Change{}, err
	}
	if Fingerprint(authority.Certificate) != at.New.FingerprintSHA256 {
		return fileset.Change{}, &FileError{Path: d.file(nextCAKey), Err: ErrMismatch, Advice: adviceForce}
	}
	r := &reissue{d: d, authority: authority, now: now, days: opts.Days, write: map[string][]byte{}}
	for _, names := range d.leaves() {
		old, err := d.leaf(names.cert)
		if err != nil {
			return fileset.Change{}, err
		}
		if err := r.replace(names, old, false); err != nil {
			return fileset.Change{}, err
		}
	}
	if err := r.record(); err != nil {
		return fileset.Change{}, err
	}
	if r.write[CAKeyFile], err = authority.KeyPEM(); err != nil {
		return fileset.Change{}, err
	}
	if d.has(CAKeyFile) {
		// Until it is retired, certificates of the old authority can be revoked.
		if r.write[oldCAKey], err = ReadFile(d.file(CAKeyFile)); err != nil {
			return fileset.Change{}, err
		}
	}
	r.write[rotationFile], err = encodeRotation(StageReissued, at.Started, at.Old.FingerprintSHA256, at.New.FingerprintSHA256)
	return fileset.Change{Write: r.write, Remove: []string{nextCAKey}}, err
}

// retire is the third step.
func (d *directory) retire(at Rotation, opts RotateOptions, now time.Time) (fileset.Change, error) {
	certs, err := ReadCertificates(d.file(CACertFile))
	if err != nil {
		return fileset.Change{}, err
	}
	lists, err := readRevocations(d.file(CACertFile), certs)
	if err != nil {
		return fileset.Change{}, err
	}
	known, err := readRecords(d)
	if err != nil {
		return fileset.Change{}, err
	}
	if !opts.Finish {
		reasons := d.stillNeeded(at, known, lists, certs, now)
		if opts.InUse == nil {
			reasons = append(reasons, "nobody could say who presents its certificates")
		} else {
			reasons = append(reasons, opts.InUse(*at.Old, *at.New)...)
		}
		if len(reasons) > 0 {
			return fileset.Change{}, &InUseError{Reasons: reasons}
		}
	}
	left := slices.DeleteFunc(certs, func(c *x509.Certificate) bool { return Fingerprint(c) == at.Old.FingerprintSHA256 })
	known.Certificates = slices.DeleteFunc(known.Certificates, func(c record) bool { return c.AuthorityKeyID == at.Old.KeyID })
	known.Lists = slices.DeleteFunc(known.Lists, func(l knownList) bool { return l.AuthorityKeyID == at.Old.KeyID })
	c := fileset.Change{Write: map[string][]byte{CACertFile: encodeCertificates(left)}, Remove: []string{oldCAKey, rotationFile}}
	if c.Write[recordsFile], err = known.encode(now); err != nil {
		return fileset.Change{}, err
	}
	if lists = lists.of(left); len(lists) > 0 {
		c.Write[CRLFile] = lists.encode(left)
	} else {
		c.Remove = append(c.Remove, CRLFile)
	}
	return c, nil
}

// stillNeeded says what this directory itself knows to speak against retiring the old authority.
func (d *directory) stillNeeded(at Rotation, known records, lists revocations, certs []*x509.Certificate, now time.Time) []string {
	var reasons []string
	revoked := func(serial string) bool {
		i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return Fingerprint(c) == at.Old.FingerprintSHA256 })
		list := lists[pin.Of(certs[i])]
		return list != nil && slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Text(16) == serial
		})
	}
	for _, r := range known.Certificates {
		if r.AuthorityKeyID == at.Old.KeyID && !r.Replaced && now.Before(r.NotAfter) && !revoked(r.Serial) {
			reasons = append(reasons, fmt.Sprintf("%s (%s, serial number %s) is its certificate: issue a new one and revoke this one", r.Path, r.Subject, r.Serial))
		}
	}
	for _, names := range d.leaves() {
		if leaf, err := d.leaf(names.cert); err == nil && AuthorityKeyID(leaf) == at.Old.KeyID {
			reasons = append(reasons, fmt.Sprintf("%s is its certificate: run berth certs renew --force", d.file(names.cert)))
		}
	}
	return reasons
}
