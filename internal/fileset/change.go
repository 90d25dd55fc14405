package fileset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"berth/internal/atomicfile"
	"berth/internal/fileowner"
)

// Options say how the files of a directory are changed. Order and Mode are required.
type Options struct {
	// Order has the name of every file that a change may write or remove, in the order in which they are put in place.
	Order []string
	// Mode is the mode of a file.
	Mode func(name string) fs.FileMode
	// Private makes the directory accessible to its owner only.
	Private bool
	// Before is called before every change on disk; an error ends the change there, as a crash would. nil does nothing.
	Before func(step string) error
}

// Change lists the files that are written and removed, all of them or none. A missing file is not an error to remove.
type Change struct {
	Write  map[string][]byte
	Remove []string
}

// OwnerError is a file that could not be given to the owner of the one that it will replace.
type OwnerError struct {
	Path string // of the file that is to be replaced
	Err  error
}

func (e *OwnerError) Error() string { return fmt.Sprintf("keep the owner of %s: %v", e.Path, e.Err) }

// Unwrap gives the cause.
func (e *OwnerError) Unwrap() error { return e.Err }

// Directory is a directory that this process has locked, and may change.
type Directory struct {
	path string
	Options
}

// Recover completes the change that an earlier process has left in a directory, and reports whether there was one. The
// caller has locked the directory.
func Recover(path string, o Options) (d *Directory, completed bool, err error) {
	if o.Before == nil {
		o.Before = func(string) error { return nil }
	}
	d = &Directory{path: path, Options: o}
	if staging := d.file(stagingDir); exists(staging) {
		if err := d.Before("remove debris"); err != nil {
			return nil, false, err
		}
		if err := os.RemoveAll(staging); err != nil {
			return nil, false, fmt.Errorf("remove unfinished change: %w", err)
		}
	}
	if !Interrupted(path) {
		return d, false, nil
	}
	return d, true, d.install()
}

func (d *Directory) file(name string) string { return filepath.Join(d.path, name) }

// Apply makes a change.
func (d *Directory) Apply(c Change) error {
	if err := d.stage(c); err != nil {
		return err
	}
	return d.install()
}

// stage does steps 1 and 2.
func (d *Directory) stage(c Change) error {
	for name := range c.Write {
		if !slices.Contains(d.Order, name) {
			return fmt.Errorf("stage files: %s is none of the files of %s", name, d.path)
		}
	}
	staging := d.file(stagingDir)
	if err := d.Before("make staging directory"); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return fmt.Errorf("stage files: %w", err)
	}
	// Readers look into it before the files are in place.
	if err := fileowner.GivePath(staging, d.path); err != nil {
		return &OwnerError{Path: d.path, Err: err}
	}
	for _, name := range d.Order {
		data, written := c.Write[name]
		staged := name
		switch {
		case written:
		case slices.Contains(c.Remove, name) && exists(d.file(name)):
			staged = tombstone + name
		default:
			continue
		}
		if err := d.Before("stage " + staged); err != nil {
			return err
		}
		if err := d.stageFile(filepath.Join(staging, staged), name, data); err != nil {
			return err
		}
	}
	if err := d.Before("commit"); err != nil {
		return err
	}
	if err := os.Rename(staging, d.file(pendingDir)); err != nil {
		return fmt.Errorf("commit change: %w", err)
	}
	return atomicfile.SyncDir(d.path)
}

// stageFile writes the new version of a file. It gets the owner of the file or, if there is none yet, of the directory: a change
// must not make a file unreadable for its user.
func (d *Directory) stageFile(staged, name string, data []byte) error {
	like := d.file(name)
	if info, err := os.Lstat(like); err != nil || !info.Mode().IsRegular() {
		like = d.path
	}
	err := atomicfile.Write(staged, data, d.Mode(name), like)
	if errors.Is(err, fs.ErrPermission) { // this user owns the directory, but may not change owners
		return &OwnerError{Path: d.file(name), Err: err}
	}
	if err != nil {
		return fmt.Errorf("stage files: %w", err)
	}
	return nil
}

// install does steps 3 and 4, from wherever an earlier process left them.
func (d *Directory) install() error {
	if err := d.protect(); err != nil {
		return err
	}
	for _, name := range d.Order {
		if err := d.installFile(name); err != nil {
			return err
		}
	}
	for _, name := range d.Order {
		if err := d.removeFile(name); err != nil {
			return err
		}
	}
	if err := atomicfile.SyncDir(d.path); err != nil {
		return err
	}
	if err := d.Before("finish"); err != nil {
		return err
	}
	if err := os.Remove(d.file(pendingDir)); err != nil {
		return fmt.Errorf("install files: %w", err)
	}
	return atomicfile.SyncDir(d.path)
}

func (d *Directory) protect() error {
	if !d.Private {
		return nil
	}
	if err := d.Before("protect directory"); err != nil {
		return err
	}
	if err := os.Chmod(d.path, 0o700); err != nil {
		return fmt.Errorf("protect directory: %w", err)
	}
	return nil
}

func (d *Directory) installFile(name string) error {
	staged := filepath.Join(d.file(pendingDir), name)
	if !exists(staged) {
		return nil
	}
	if err := d.Before("install " + name); err != nil {
		return err
	}
	if err := os.Rename(staged, d.file(name)); err != nil {
		return fmt.Errorf("install files: %w", err)
	}
	return nil
}

// removeFile removes a file and then its tombstone, which hides the file from readers until then.
func (d *Directory) removeFile(name string) error {
	stone := filepath.Join(d.file(pendingDir), tombstone+name)
	if !exists(stone) {
		return nil
	}
	for _, path := range []string{d.file(name), stone} {
		if err := d.Before("remove " + filepath.Base(path)); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("install files: %w", err)
		}
	}
	return nil
}
