package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/fileset"
)

// Files beside the set; all but the keys are public.
const (
	CRLFile      = "crl.pem"         // what was revoked
	recordsFile  = "issued.json"     // certificates that stand elsewhere or were replaced
	rotationFile = "rotation.json"   // how far a rotation has come
	nextCAKey    = "next-ca-key.pem" // of the authority that a rotation will put in force
	oldCAKey     = "old-ca-key.pem"  // of the authority that a rotation will retire
)

// fileOrder is the order in which a set is put in place.
func fileOrder() []string {
	return []string{CAKeyFile, ServerKeyFile, ClientKeyFile, ServerCertFile, ClientCertFile, CACertFile}
}

// changeOrder is the order in which every file that a change may touch is put in place: keys first, the authorities last.
func changeOrder() []string {
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

// hook is called ahead of every change on disk; an error ends the run there, as a crash would.
type hook func(step string) error

func noHook(string) error { return nil }

// directory is a certificate directory. It can be changed if this process has locked it.
type directory struct {
	path  string
	files *fileset.Directory // nil if it is only read
	// completed tells whether an interrupted earlier change was put in place when the directory was opened.
	completed bool
}

// edit locks a certificate directory, completes what an interrupted run left in it, and hands it to do. Others are kept out
// of it: it may hold the authority's key.
func edit(path string, before hook, do func(*directory) error) error {
	return editAs(path, fileset.Options{Private: true, Before: before}, do)
}

// editOut is edit for a directory that certificates are handed out in. It is made if it is not there; one that is there
// keeps its mode: it holds other files, too.
func editOut(path string, before hook, do func(*directory) error) error {
	if err := makeDir(path, before); err != nil {
		return err
	}
	return editAs(path, fileset.Options{Before: before}, do)
}

func editAs(path string, o fileset.Options, do func(*directory) error) error {
	unlock, err := fileset.Lock(path)
	switch {
	case errors.Is(err, fileset.ErrLocked):
		return &FileError{Path: path, Err: ErrLocked, Advice: "wait for it to end"}
	case err != nil:
		return openError(filepath.Join(path, CACertFile), err)
	}
	defer unlock()
	o.Order, o.Mode = changeOrder(), fileMode
	d := &directory{path: path}
	if d.files, d.completed, err = fileset.Recover(path, o); err != nil {
		return err
	}
	return do(d)
}

// makeDir makes a directory for its owner alone, and its parents in the usual way.
func makeDir(path string, before hook) error {
	if exists(path) {
		return nil
	}
	if err := before("make directory"); err != nil {
		return err
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

// apply makes a change.
func (d *directory) apply(c fileset.Change) error {
	err := d.files.Apply(c)
	if owner, ok := errors.AsType[*fileset.OwnerError](err); ok && errors.Is(err, fs.ErrPermission) {
		return &FileError{Path: owner.Path, Err: owner.Err, Advice: "run this as the user who owns it, or with the right to give files away"}
	}
	return err
}
