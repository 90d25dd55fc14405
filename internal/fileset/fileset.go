// Package fileset changes several files of one directory as one, so that a crash at any moment leaves either the old files or
// the new ones, and reads them as they are while such a change is being put in place.
//
// It knows the file system: locks, renames, owners, durability. It refuses to know what the files hold and who reads them.
//
// A change is made in four steps:
//
//  1. every new file goes, synced, into .pending.tmp; for a file to remove, an empty one named gone-… does;
//  2. .pending.tmp is renamed to .pending: from here on the change counts, and it is complete;
//  3. the files move out of .pending into place, in the order that was asked for; then those to remove go;
//  4. the empty .pending goes.
//
// .pending.tmp at the start of a change is debris and is removed; .pending is finished from step 3. Readers of this package
// look into .pending first, so for them the change happens at once, in step 2; others see one file change after the other.
package fileset

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

const (
	pendingDir = ".pending"
	stagingDir = ".pending.tmp"
	tombstone  = "gone-"
)

// ErrLocked is a directory that another process has locked.
var ErrLocked = errors.New("another process has locked the directory")

// Lock keeps every other process that asks for it out of a directory, until unlock is called or this process ends. It never
// waits: the error is ErrLocked then. The error of a directory that cannot be opened is the one of the operating system.
func Lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() {
		// A child that is being started has the file too until it executes its program: closing alone would leave the lock to it.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
