package jsonfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"berth/internal/fileowner"
	"berth/internal/session"
)

// lock keeps other processes out. The kernel lets go of it when the process ends, however it ends.
type lock struct {
	path string
	file *os.File
	info os.FileInfo
}

// acquire locks the file at path, made if need be, and writes this process's number into it. The file stays when the
// lock is released: removing it would let two processes hold locks of the same name.
func acquire(path string) (*lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, ownerOnly)
	if err != nil {
		return nil, unusable("open the lock of the session store", path, err)
	}
	if err := fileowner.Give(file, filepath.Dir(path)); err != nil {
		file.Close()
		return nil, unavailable("open the lock of the session store", err)
	}
	l, err := take(path, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return l, nil
}

func take(path string, file *os.File) (*lock, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, inUse(strings.TrimSuffix(path, lockSuffix), file)
	}
	if err != nil {
		return nil, unavailable("lock "+path, err)
	}
	number := strconv.Itoa(os.Getpid()) + "\n"
	err = file.Truncate(0)
	if err == nil {
		_, err = file.WriteAt([]byte(number), 0)
	}
	if err != nil {
		return nil, unavailable("write "+path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, unavailable("look at "+path, err)
	}
	return &lock{path: path, file: file, info: info}, nil
}

func inUse(store string, lock *os.File) error {
	return session.Errorf(session.CodeStoreUnavailable, "the session store %s is in use by %s; stop it or use another BERTH_STATE_DIR", store, holder(lock))
}

// holder names the process that has the lock, as far as it has said so.
func holder(file *os.File) string {
	text := make([]byte, 20)
	n, _ := file.ReadAt(text, 0)
	number, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return "another process"
	}
	return "process " + strconv.Itoa(number)
}

// held returns an error if the lock file was removed or replaced: then another process may have the file.
func (l *lock) held() error {
	info, err := os.Stat(l.path)
	if err != nil || !os.SameFile(info, l.info) {
		return fmt.Errorf("%s was removed or replaced, so that another process may be using the session store; start Berth again", l.path)
	}
	return nil
}

// release unlocks explicitly: a child process that is just being started still has the file open for a moment.
func (l *lock) release() {
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN) // closing is left
	l.file.Close()
}
