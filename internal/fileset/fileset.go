// Package fileset changes several files of one directory atomically, so that a crash at any moment leaves either the old files
// or the new ones, and reads them consistently during such a change.
//
// It knows the file system: locks, renames, owners, durability. It does not know the content of the files.
//
// A change is made in four steps:
//
//  1. every new file is written to .pending.tmp and synced; a file to remove has an empty one there, named gone-…;
//  2. .pending.tmp is renamed to .pending: the change is committed;
//  3. the files are moved from .pending into place, in the given order; then those to remove are removed;
//  4. the empty .pending is removed.
//
// .pending.tmp at the start of a change is incomplete and is removed; .pending is completed from step 3. Readers of this package
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

// Lock locks a directory until unlock is called or this process ends. It never waits: the error is ErrLocked when another
// process has the lock. The error of a directory that cannot be opened is the one of the operating system.
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
		// A child that is being forked has the file open too until it executes its program, and would keep a lock that is only closed.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
