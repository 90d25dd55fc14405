package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"berth/internal/atomicfile"
	"berth/internal/fileowner"
)

const (
	lockSuffix     = ".lock"
	previousSuffix = ".previous"
	newSuffix      = ".new" // of the previous version while it is being created

	ownerOnly fs.FileMode = 0o600 // the file contains token digests
)

// step is a point of a write at which tests inject a failure or kill the process.
type step string

const (
	stepCreated  step = "created"  // the temporary file is created
	stepWritten  step = "written"  // it has its content, perhaps in memory only
	stepLinked   step = "linked"   // the current version has a second name, not yet the final one
	stepKept     step = "kept"     // .previous is the current version
	stepReplaced step = "replaced" // the file is the new version, perhaps in memory only
	stepDurable  step = "durable"  // and on the disk

	stepNoted        step = "noted"  // activity is appended to its log, perhaps in memory only
	stepNotedDurable step = "synced" // and on the disk
)

// steps lists every step of a write of the file, in order.
func steps() []step {
	return []step{stepCreated, stepWritten, stepLinked, stepKept, stepReplaced, stepDurable}
}

// disk replaces one file by its next version.
type disk struct {
	path  string // absolute, without symbolic links
	lock  *lock
	fault func(step) error // nil but in tests
	link  func(oldname, newname string) error
}

func (d *disk) reach(s step) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(s)
}

func (d *disk) dir() string      { return filepath.Dir(d.path) }
func (d *disk) previous() string { return d.path + previousSuffix }

// replace replaces the file by its next version. At every moment the file is the complete old or the complete new version.
// replaced reports which it is; it may be the new one in spite of an error, if the rollback fails.
func (d *disk) replace(content []byte) (replaced bool, err error) {
	if err := d.lock.held(); err != nil {
		return false, err
	}
	pending, err := renameio.TempFile(d.dir(), d.path)
	if err != nil {
		return false, fmt.Errorf("create a temporary file: %w", err)
	}
	defer func() { _ = pending.Cleanup() }() // no effect after the rename
	if err := fileowner.Give(pending.File, d.dir()); err != nil {
		return false, fmt.Errorf("create a temporary file: %w", err)
	}
	if err := d.reach(stepCreated); err != nil {
		return false, err
	}
	if _, err := pending.Write(content); err != nil {
		return false, fmt.Errorf("write a temporary file: %w", err)
	}
	if err := d.reach(stepWritten); err != nil {
		return false, err
	}
	existed, err := d.keepPrevious()
	if err != nil {
		return false, fmt.Errorf("keep the previous version: %w", err)
	}
	if err := d.reach(stepKept); err != nil {
		return false, err
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return false, fmt.Errorf("replace the file: %w", err)
	}
	if err := d.syncName(); err != nil {
		return d.rollBack(existed) != nil, err
	}
	return true, nil
}

// syncName makes the new name durable: renameio syncs the file, but not the directory.
func (d *disk) syncName() error {
	if err := d.reach(stepReplaced); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(d.dir()); err != nil {
		return err
	}
	return d.reach(stepDurable)
}

// rollBack undoes a replacement that could not be made durable, so that file and memory agree on the old version.
func (d *disk) rollBack(existed bool) error {
	if !existed {
		return os.Remove(d.path)
	}
	return os.Rename(d.previous(), d.path)
}

// keepPrevious links the current version as the previous one. The file itself exists all the time. It reports whether there is
// a current version.
func (d *disk) keepPrevious() (existed bool, err error) {
	if _, err := os.Lstat(d.path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	fresh := d.previous() + newSuffix
	if err := d.link(d.path, fresh); err != nil {
		return true, d.copyPrevious() // the file system may have no hard links
	}
	// Rename has no effect for two links of one file, as after a write that failed later than here.
	defer func() { _ = atomicfile.Remove(fresh) }()
	if err := d.reach(stepLinked); err != nil {
		return true, err
	}
	return true, os.Rename(fresh, d.previous())
}

func (d *disk) copyPrevious() error {
	content, err := os.ReadFile(d.path)
	if err != nil {
		return err
	}
	return atomicfile.Write(d.previous(), content, ownerOnly, d.dir())
}

// cleanUp removes temporary files of a killed process, and the permissions of other users.
func (d *disk) cleanUp() error {
	names, err := os.ReadDir(d.dir())
	if err != nil {
		return err
	}
	base := filepath.Base(d.path)
	for _, n := range names {
		if n.Type().IsRegular() && isLeftover(n.Name(), base) {
			if err := atomicfile.Remove(filepath.Join(d.dir(), n.Name())); err != nil {
				return err
			}
		}
	}
	for _, path := range []string{d.path, d.previous(), d.path + activitySuffix} {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm() != ownerOnly {
			err = os.Chmod(path, ownerOnly)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isLeftover reports whether a name is one of a temporary file: renameio's are a dot, the file's name and a number.
func isLeftover(name, base string) bool {
	if name == base+previousSuffix+newSuffix {
		return true
	}
	rest, ok := strings.CutPrefix(name, "."+base)
	rest = strings.TrimPrefix(rest, previousSuffix)
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}
