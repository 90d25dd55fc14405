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
	newSuffix      = ".new" // of the previous version while it is being made

	ownerOnly fs.FileMode = 0o600 // the file holds token digests
)

// step is a point in the course of a write, at which tests make the disk fail or the process die.
type step string

const (
	stepCreated  step = "created"  // there is an empty temporary file
	stepWritten  step = "written"  // it has its content, perhaps in memory only
	stepLinked   step = "linked"   // the present version has its second name, not yet the final one
	stepKept     step = "kept"     // .previous is the present version
	stepReplaced step = "replaced" // the file is the new version, perhaps in memory only
	stepDurable  step = "durable"  // and on the disk

	stepNoted        step = "noted"  // activity is in its log, perhaps in memory only
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

// replace makes content the file's next version. Whatever happens when, the file is the old or the new version, whole.
// landed says which it is now; it may be the new one although there is an error, if the disk refuses to go back.
func (d *disk) replace(content []byte) (landed bool, err error) {
	if err := d.lock.held(); err != nil {
		return false, err
	}
	pending, err := renameio.TempFile(d.dir(), d.path)
	if err != nil {
		return false, fmt.Errorf("create a temporary file: %w", err)
	}
	defer func() { _ = pending.Cleanup() }() // nothing to do when it has become the file
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
	if err := d.settle(); err != nil {
		return d.goBack(existed) != nil, err
	}
	return true, nil
}

// settle makes the new name durable: renameio writes the file through to the disk, but not the directory.
func (d *disk) settle() error {
	if err := d.reach(stepReplaced); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(d.dir()); err != nil {
		return err
	}
	return d.reach(stepDurable)
}

// goBack undoes a replacement that could not be made durable, so that file and memory agree on the old version.
func (d *disk) goBack(existed bool) error {
	if !existed {
		return os.Remove(d.path)
	}
	return os.Rename(d.previous(), d.path)
}

// keepPrevious gives the present version its second name. The file keeps its first one all the time. It reports
// whether there is a present version.
func (d *disk) keepPrevious() (existed bool, err error) {
	if _, err := os.Lstat(d.path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	fresh := d.previous() + newSuffix
	if err := d.link(d.path, fresh); err != nil {
		return true, d.copyPrevious() // there are file systems without hard links
	}
	// Rename does nothing for two names of one file, which these are after a write that failed later than here.
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

// tidy removes what a killed process has left beside the file, and takes other users' rights away.
func (d *disk) tidy() error {
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

// isLeftover recognises the names of temporary files: renameio's are a dot, the file's name and a number.
func isLeftover(name, base string) bool {
	if name == base+previousSuffix+newSuffix {
		return true
	}
	rest, ok := strings.CutPrefix(name, "."+base)
	rest = strings.TrimPrefix(rest, previousSuffix)
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}
