package jsonfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"berth/internal/atomicfile"
	"berth/internal/session"
)

// Locked is a store's locked file, to be moved to another store. No other process can open it.
type Locked struct {
	Data []byte // with the activity of its log; to be parsed by [Read]

	path string
	lock *lock
}

// LockFile locks the file of a store and reads it. It returns nil if there is none. A file in use is a
// CodeStoreUnavailable error that names the process.
func LockFile(path string) (*Locked, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nil: there is no file
	}
	lock, err := acquire(path + lockSuffix)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err == nil {
		data, err = withActivity(data, path)
	}
	if err != nil {
		lock.release()
		return nil, unusable("read the session store", path, err)
	}
	return &Locked{Data: data, path: path, lock: lock}, nil
}

// Retire renames the file after its sessions were moved, in the same directory, to "<name>.<suffix>". At no moment is there a
// previous version without its file.
func (s *Locked) Retire(suffix string) (backup string, err error) {
	backup = s.path + "." + suffix
	if err := atomicfile.Remove(s.path + previousSuffix); err != nil {
		return "", unavailable("remove the previous version of the session store", err)
	}
	if _, err := os.Lstat(backup); err == nil {
		return "", session.Errorf(session.CodeStoreUnavailable, "%s exists already; move it away", backup)
	}
	if err := os.Rename(s.path, backup); err != nil {
		return "", unavailable("rename the session store", err)
	}
	for _, suffix := range []string{activitySuffix, reserveSuffix} { // a log without its file has no effect
		if err := atomicfile.Remove(s.path + suffix); err != nil {
			return "", unavailable("remove the files beside the session store", err)
		}
	}
	if err := atomicfile.SyncDir(filepath.Dir(s.path)); err != nil {
		return "", unavailable("rename the session store", err)
	}
	return backup, nil
}

// Release unlocks the file.
func (s *Locked) Release() { s.lock.release() }
