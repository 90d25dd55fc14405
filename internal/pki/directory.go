package pki

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"berth/internal/fileset"
	"berth/internal/pin"
)

// Files beside the set; all but the keys are public.
const (
	CRLFile      = "crl.pem"         // the revocation lists
	recordsFile  = "issued.json"     // certificates that were handed out or replaced
	rotationFile = "rotation.json"   // the stage of a rotation
	nextCAKey    = "next-ca-key.pem" // of the authority that a rotation introduces
	oldCAKey     = "old-ca-key.pem"  // of the authority that a rotation retires
)

// fileOrder is the order in which every file that a command may change is put in place: keys first, the authorities last.
func fileOrder() []string {
	return []string{
		nextCAKey, oldCAKey, CAKeyFile, ServerKeyFile, ClientKeyFile, DockerKeyFile,
		ServerCertFile, ClientCertFile, DockerCertFile, recordsFile, CRLFile, CACertFile, rotationFile,
	}
}

func fileMode(name string) fs.FileMode {
	if strings.HasSuffix(name, DockerKeyFile) {
		return 0o400
	}
	return 0o444
}

// hook is called before every change on disk; an error ends the command there, as a crash would. nil does nothing.
type hook func(step string) error

// directory is a certificate directory. Each of its files is read when it is first asked for. A command sees its own changes
// at once, other processes after commit.
type directory struct {
	path string
	now  time.Time
	// completed reports whether an interrupted earlier change was put in place when the directory was opened for changes.
	completed bool

	trusted func() ([]*x509.Certificate, error) // of ca.pem
	lists   func() (Revocations, error)         // of crl.pem; none if there is no such file
	records func() (*records, error)            // of issued.json

	files                    *fileset.Directory // nil if it is only read
	change                   fileset.Change
	listsDirty, recordsDirty bool
	err                      error // the first of a change; commit returns it
}

// openDirectory opens a directory for reading only.
func openDirectory(path string, now func() time.Time) *directory {
	if now == nil {
		now = time.Now
	}
	d := &directory{path: path, now: now()}
	d.forget()
	return d
}

// forget drops the cached files and the uncommitted changes.
func (d *directory) forget() {
	d.change, d.listsDirty, d.recordsDirty = fileset.Change{Write: map[string][]byte{}}, false, false
	d.trusted = sync.OnceValues(func() ([]*x509.Certificate, error) { return ReadCertificates(d.file(CACertFile)) })
	d.lists = sync.OnceValues(func() (Revocations, error) {
		all, err := d.trusted()
		if err != nil {
			return nil, err
		}
		return readRevocations(d.file(CACertFile), all)
	})
	d.records = sync.OnceValues(func() (*records, error) { return readRecords(d.path) })
}

// read returns the results of trusted, lists and records.
func (d *directory) read() (all []*x509.Certificate, lists Revocations, known *records, err error) {
	if all, err = d.trusted(); err != nil {
		return nil, nil, nil, err
	}
	if lists, err = d.lists(); err != nil {
		return nil, nil, nil, err
	}
	known, err = d.records()
	return all, lists, known, err
}

// edit locks a certificate directory, completes an interrupted change, and calls do. The directory becomes private, because it
// may hold the authority's key.
func edit(path string, now func() time.Time, before hook, do func(*directory) error) error {
	return editAs(path, now, fileset.Options{Private: true, Before: before}, do)
}

// editOut is edit for an output directory. It is created if it is missing; an existing one keeps its mode, since it may hold
// other files.
func editOut(path string, now func() time.Time, before hook, do func(*directory) error) error {
	if err := makeDirectory(path, before); err != nil {
		return err
	}
	return editAs(path, now, fileset.Options{Before: before}, do)
}

func editAs(path string, now func() time.Time, o fileset.Options, do func(*directory) error) error {
	unlock, err := fileset.Lock(path)
	switch {
	case errors.Is(err, fileset.ErrLocked):
		return &FileError{Path: path, Err: ErrLocked, Advice: "wait for it to end"}
	case err != nil:
		return openError(filepath.Join(path, CACertFile), err)
	}
	defer unlock()
	o.Order, o.Mode = fileOrder(), fileMode
	d := openDirectory(path, now)
	if d.files, d.completed, err = fileset.Recover(path, o); err != nil {
		return err
	}
	return do(d)
}

// makeDirectory makes a directory with access for its owner only, and its parents with the usual mode.
func makeDirectory(path string, before hook) error {
	if fileset.Exists(path) {
		return nil
	}
	if before != nil {
		if err := before("make directory"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(path)), 0o755); err != nil {
		return fmt.Errorf("make certificate directory: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make certificate directory: %w", err)
	}
	return nil
}

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

func (d *directory) has(name string) bool { return fileset.Exists(d.file(name)) }

// pairFiles names the files of a certificate and its key.
type pairFiles struct{ cert, key string }

// leaf is the server or client certificate of a directory.
type leaf struct {
	pairFiles
	certificate *x509.Certificate // nil beside an error
}

// leaves returns the existing leaves.
func (d *directory) leaves() iter.Seq2[leaf, error] {
	return func(yield func(leaf, error) bool) {
		for _, names := range []pairFiles{{ServerCertFile, ServerKeyFile}, {ClientCertFile, ClientKeyFile}, {DockerCertFile, DockerKeyFile}} {
			if !d.has(names.cert) {
				continue
			}
			found := leaf{pairFiles: names}
			certs, err := ReadCertificates(d.file(names.cert))
			if err == nil {
				found.certificate = certs[0]
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

// put writes a file, drop removes some. All methods from here to commit change only this value; commit returns their errors.
func (d *directory) put(name string, data []byte) { d.change.Write[name] = data }

func (d *directory) drop(names ...string) { d.change.Remove = append(d.change.Remove, names...) }

// putKey writes a private key.
func (d *directory) putKey(name string, pair Pair) {
	key, err := pair.KeyPEM()
	d.fail(err)
	d.put(name, key)
}

// putPair writes a certificate and its key.
func (d *directory) putPair(names pairFiles, pair Pair) {
	d.put(names.cert, pair.CertPEM())
	d.putKey(names.key, pair)
}

// trust makes these the authorities of the directory and drops the lists of others.
func (d *directory) trust(all []*x509.Certificate) {
	_, err := d.lists() // reads them with the authorities that signed them
	d.fail(err)
	d.put(CACertFile, encodeCertificates(all))
	d.trusted = func() ([]*x509.Certificate, error) { return all, nil }
	d.listsDirty = true
}

// setList replaces the list of its authority, and records it.
func (d *directory) setList(ca *x509.Certificate, list *x509.RevocationList) {
	_, lists, known, err := d.read()
	if err != nil {
		d.fail(err)
		return
	}
	lists[pin.Of(ca)] = list
	known.noteList(ca, list)
	d.listsDirty, d.recordsDirty = true, true
}

// remember records a certificate that was handed out, or replaced here.
func (d *directory) remember(about Description, replaced bool) {
	known, err := d.records()
	if err != nil {
		d.fail(err)
		return
	}
	known.add(about, replaced)
	d.recordsDirty = true
}

func (d *directory) fail(err error) { d.err = cmp.Or(d.err, err) }

// commit writes all changes, atomically.
func (d *directory) commit() error {
	d.fail(d.encode())
	if d.err != nil || len(d.change.Write)+len(d.change.Remove) == 0 {
		return d.err
	}
	err := d.files.Apply(d.change)
	if owner, ok := errors.AsType[*fileset.OwnerError](err); ok && errors.Is(err, fs.ErrPermission) {
		return &FileError{Path: owner.Path, Err: owner.Err, Advice: "run this as the user who owns it, or with the right to change owners"}
	}
	d.forget()
	return err
}

// encode adds the files of changed lists and records.
func (d *directory) encode() error {
	if d.recordsDirty {
		known, err := d.records()
		if err != nil {
			return err
		}
		text, err := known.encode(d.now)
		if err != nil {
			return err
		}
		d.put(recordsFile, text)
	}
	if !d.listsDirty {
		return nil
	}
	all, lists, _, err := d.read()
	if err != nil {
		return err
	}
	if text := lists.encode(all); len(text) > 0 {
		d.put(CRLFile, text)
	} else {
		d.drop(CRLFile)
	}
	return nil
}
