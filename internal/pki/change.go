package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// Files beside the set; all but the keys are public.
const (
	CRLFile      = "crl.pem"         // what was revoked
	recordsFile  = "issued.json"     // certificates that stand elsewhere or were replaced
	rotationFile = "rotation.json"   // how far a rotation has come
	nextCAKey    = "next-ca-key.pem" // of the authority that a rotation will put in force
	oldCAKey     = "old-ca-key.pem"  // of the authority that a rotation will retire
)

// A change of a certificate directory is made so that a crash at any moment leaves either the old files, or the new ones:
//
//  1. every new file goes, synced, into .pending.tmp; for a file that shall vanish, an empty one named gone-… does;
//  2. .pending.tmp is renamed to .pending: from here on the change counts, and it is complete;
//  3. the files move out of .pending into place, keys first, the authorities last;
//  4. the empty .pending goes.
//
// .pending.tmp at the start of a run is debris and is removed; .pending is finished from step 3. Our own readers look into
// .pending first, so for them the change happens at once, in step 2; others see the files of a pair change one after the other.
const (
	pendingDir = ".pending"
	stagingDir = ".pending.tmp"
	tombstone  = "gone-"
)

// fileOrder is the order in which a set is put in place.
func fileOrder() []string {
	return []string{CAKeyFile, ServerKeyFile, ClientKeyFile, ServerCertFile, ClientCertFile, CACertFile}
}

// changeOrder is the order in which every file that a change may touch is put in place.
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

// directory is a certificate directory that this process has locked.
type directory struct {
	path   string
	before hook
	// foreign is one whose mode is its owner's business: it holds other things, too.
	foreign bool
	// completed tells whether an interrupted earlier change was put in place when the directory was opened.
	completed bool
}

// change is what one run writes and removes, all of it or nothing. Names are among changeOrder.
type change struct {
	write  map[string][]byte
	remove []string
}

// edit locks a certificate directory, completes what an interrupted run left in it, and hands it to do.
func edit(path string, before hook, do func(*directory) error) error {
	return (&directory{path: path, before: before}).edit(do)
}

// editOut is edit for a directory that certificates are handed out in. It is made if it is not there; one that is there
// keeps its mode.
func editOut(path string, before hook, do func(*directory) error) error {
	d := &directory{path: path, before: before, foreign: true}
	if err := makeDir(path, before); err != nil {
		return err
	}
	return d.edit(do)
}

func (d *directory) edit(do func(*directory) error) error {
	unlock, err := lockDir(d.path)
	if err != nil {
		return err
	}
	defer unlock()
	if d.completed, err = d.recover(); err != nil {
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

func (d *directory) has(name string) bool { return exists(d.file(name)) }

// apply makes a change. Files to remove that are not there are none to remove.
func (d *directory) apply(c change) error {
	if err := d.stage(c); err != nil {
		return err
	}
	return d.install()
}

// stage does steps 1 and 2.
func (d *directory) stage(c change) error {
	staging := d.file(stagingDir)
	if err := d.before("make staging directory"); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return fmt.Errorf("stage certificates: %w", err)
	}
	// Readers look into it before the files are in place.
	if err := giveTo(staging, d.path, d.path); err != nil {
		return err
	}
	for _, name := range changeOrder() {
		data, written := c.write[name]
		staged := name
		switch {
		case written:
		case slices.Contains(c.remove, name) && d.has(name):
			staged = tombstone + name
		default:
			continue
		}
		if err := d.before("stage " + staged); err != nil {
			return err
		}
		// The temporary file stays in the staging directory: a key shall not pass through the system's.
		err := renameio.WriteFile(filepath.Join(staging, staged), data, fileMode(name),
			renameio.WithStaticPermissions(fileMode(name)), renameio.WithTempDir(staging))
		if err != nil {
			return fmt.Errorf("stage certificates: %w", err)
		}
		if err := giveTo(filepath.Join(staging, staged), d.file(name), d.path); err != nil {
			return err
		}
	}
	if err := syncDir(staging); err != nil {
		return err
	}
	if err := d.before("commit"); err != nil {
		return err
	}
	if err := os.Rename(staging, d.file(pendingDir)); err != nil {
		return fmt.Errorf("commit certificates: %w", err)
	}
	return syncDir(d.path)
}

// install does steps 3 and 4, from wherever an earlier run left them.
func (d *directory) install() error {
	pending := d.file(pendingDir)
	if err := d.protect(); err != nil {
		return err
	}
	for _, name := range changeOrder() {
		if err := d.installFile(filepath.Join(pending, name), name); err != nil {
			return err
		}
	}
	for _, name := range changeOrder() {
		if err := d.bury(filepath.Join(pending, tombstone+name), name); err != nil {
			return err
		}
	}
	if err := syncDir(d.path); err != nil {
		return err
	}
	if err := d.before("finish"); err != nil {
		return err
	}
	if err := os.Remove(pending); err != nil {
		return fmt.Errorf("install certificates: %w", err)
	}
	return syncDir(d.path)
}

// protect keeps others out of a directory that may hold the authority's key.
func (d *directory) protect() error {
	if d.foreign {
		return nil
	}
	if err := d.before("protect directory"); err != nil {
		return err
	}
	if err := os.Chmod(d.path, 0o700); err != nil {
		return fmt.Errorf("protect certificate directory: %w", err)
	}
	return nil
}

func (d *directory) installFile(from, name string) error {
	if !exists(from) {
		return nil
	}
	if err := d.before("install " + name); err != nil {
		return err
	}
	if err := os.Rename(from, d.file(name)); err != nil {
		return fmt.Errorf("install certificates: %w", err)
	}
	return nil
}

// bury removes a file and then its tombstone, which hides the file from readers until then.
func (d *directory) bury(stone, name string) error {
	if !exists(stone) {
		return nil
	}
	for _, path := range []string{d.file(name), stone} {
		if err := d.before("remove " + filepath.Base(path)); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("install certificates: %w", err)
		}
	}
	return nil
}

// recover clears the traces of an interrupted run, and tells whether it completed that run's change.
func (d *directory) recover() (completed bool, err error) {
	staging := d.file(stagingDir)
	if exists(staging) {
		if err := d.before("remove debris"); err != nil {
			return false, err
		}
		if err := os.RemoveAll(staging); err != nil {
			return false, fmt.Errorf("remove unfinished certificates: %w", err)
		}
	}
	if !d.has(pendingDir) {
		return false, nil
	}
	return true, d.install()
}

// whereabouts is where the file of path is to be read now: in a change that is being put in place, at path itself, or
// nowhere, because the change removes it.
func whereabouts(path string) (now string, gone bool) {
	dir, name := filepath.Split(path)
	pending := filepath.Join(dir, pendingDir)
	if moved := filepath.Join(pending, name); exists(moved) {
		return moved, false
	}
	return path, exists(filepath.Join(pending, tombstone+name))
}

// present tells whether there is a file of that path for a reader.
func present(path string) bool {
	now, gone := whereabouts(path)
	return !gone && (now != path || exists(path))
}

// lockDir keeps a second process from writing certificates in dir at the same time.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, openError(filepath.Join(dir, CACertFile), err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &FileError{Path: dir, Err: ErrLocked, Advice: "wait for it to end"}
		}
		return nil, fmt.Errorf("lock certificate directory %s: %w", dir, err)
	}
	return func() {
		// A child that is being started has the file too until it executes its program: closing alone would leave the lock to it.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
