package jsonfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"berth/internal/atomicfile"
	"berth/internal/session"
)

// Seized is a store's file that is about to move elsewhere. No other process can open it meanwhile.
type Seized struct {
	Data []byte // with the activity of its log, otherwise as it is; what it means [Read] finds out

	path string
	lock *lock
}

// Seize locks the file of a store and reads it. It returns nil when there is none. A file in use is a
// CodeStoreUnavailable error that names the process.
func Seize(path string) (*Seized, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing is an answer
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
	return &Seized{Data: data, path: path, lock: lock}, nil
}

// Retire gives the file, whose sessions are elsewhere now, another name in the same directory: "<name>.<suffix>". There
// is no moment at which a store could be opened in its place and found empty beside a previous version.
func (s *Seized) Retire(suffix string) (backup string, err error) {
	backup = s.path + "." + suffix
	if err := atomicfile.Remove(s.path + previousSuffix); err != nil {
		return "", unavailable("remove the previous version of the session store", err)
	}
	if _, err := os.Lstat(backup); err == nil {
		return "", session.Errorf(session.CodeStoreUnavailable, "%s is there already; move it away", backup)
	}
	if err := os.Rename(s.path, backup); err != nil {
		return "", unavailable("rename the session store", err)
	}
	for _, suffix := range []string{activitySuffix, reserveSuffix} { // a log without its file changes nothing
		if err := atomicfile.Remove(s.path + suffix); err != nil {
			return "", unavailable("remove what was beside the session store", err)
		}
	}
	if err := atomicfile.SyncDir(filepath.Dir(s.path)); err != nil {
		return "", unavailable("rename the session store", err)
	}
	return backup, nil
}

// Release lets other processes have the file again.
func (s *Seized) Release() { s.lock.release() }
