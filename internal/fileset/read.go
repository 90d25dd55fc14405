package fileset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// ErrTooLarge is a file that is larger than its reader wants.
var ErrTooLarge = errors.New("too large")

// ReadFile reads a file of at most limit bytes; the error of a larger one is ErrTooLarge.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := follow(path, open)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: larger than %d bytes", ErrTooLarge, limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// open does not wait for a writer when the file is a named pipe, which then reads as empty: no signal would end the wait.
func open(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) }

// Stat describes a file.
func Stat(path string) (fs.FileInfo, error) { return follow(path, os.Stat) }

// Exists reports whether there is a file of that name, a dangling symbolic link included.
func Exists(path string) bool {
	_, err := follow(path, os.Lstat)
	return err == nil
}

// Interrupted reports whether a change of the directory was begun and not put in place wholly.
func Interrupted(dir string) bool { return exists(filepath.Join(dir, pendingDir)) }

// follow calls do with the place where the file of path is now: in a change that is being put in place, or at path itself.
func follow[T any](path string, do func(string) (T, error)) (T, error) {
	dir, name := filepath.Split(path)
	pending := filepath.Join(dir, pendingDir)
	if moved := filepath.Join(pending, name); exists(moved) {
		if found, err := do(moved); !errors.Is(err, fs.ErrNotExist) {
			return found, err
		}
		// It has been put in place since.
		return do(path)
	}
	if exists(filepath.Join(pending, tombstone+name)) {
		var none T
		return none, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return do(path)
}

// Stamps show whether files have changed: nil is a missing file.
type Stamps []fs.FileInfo

// StampsOf are those of some files, as they are now.
func StampsOf(paths []string) Stamps {
	s := make(Stamps, len(paths))
	for i, path := range paths {
		if info, err := Stat(path); err == nil {
			s[i] = info
		}
	}
	return s
}

// Equal reports whether two stamps of the same files show no change.
func (s Stamps) Equal(other Stamps) bool {
	return slices.EqualFunc(s, other, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
}

// Stable reads until the files were the same before and after, so that what was read belongs together, and returns their
// stamps. It gives up on files that change all the time: the last read must then be validated as usual.
func Stable(paths []string, read func()) Stamps {
	before := StampsOf(paths)
	for range 5 {
		read()
		after := StampsOf(paths)
		if before.Equal(after) {
			break
		}
		before = after
	}
	return before
}
