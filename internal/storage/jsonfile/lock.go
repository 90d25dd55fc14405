package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"berth/internal/fileowner"
	"berth/internal/session"
)

// lock excludes other processes. The kernel releases it when the process exits or is killed.
type lock struct {
	path string
	file *os.File    // nil: there is nothing to lock
	info os.FileInfo // of an exclusive lock
}

// acquire locks the file at path, which it creates if it is missing, and writes this process's ID into it. The file is kept
// when the lock is released: without it two processes could hold locks of the same name.
func acquire(path string) (*lock, error) {
	l, err := openLock(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, unusable("open the lock of the session store", path, err)
	}
	if err := l.claim(); err != nil {
		l.file.Close()
		return nil, err
	}
	return l, nil
}

func (l *lock) claim() error {
	if err := fileowner.Give(l.file, filepath.Dir(l.path)); err != nil {
		return unavailable("open the lock of the session store", err)
	}
	if err := l.take(syscall.LOCK_EX); err != nil {
		return err
	}
	err := l.file.Truncate(0)
	if err == nil {
		_, err = l.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return unavailable("write "+l.path, err)
	}
	if l.info, err = l.file.Stat(); err != nil {
		return unavailable("look at "+l.path, err)
	}
	return nil
}

// acquireShared excludes writers, but not other readers. Without a lock file there has never been a writer.
func acquireShared(path string) (*lock, error) {
	l, err := openLock(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return &lock{}, nil
	}
	if err != nil {
		return nil, unusable("open the lock of the session store", path, err)
	}
	if err := l.take(syscall.LOCK_SH); err != nil {
		l.file.Close()
		return nil, err
	}
	return l, nil
}

func openLock(path string, flags int) (*lock, error) {
	file, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW, ownerOnly)
	return &lock{path: path, file: file}, err
}

func (l *lock) take(how int) error {
	err := syscall.Flock(int(l.file.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return inUse(strings.TrimSuffix(l.path, lockSuffix), l.file)
	}
	if err != nil {
		return unavailable("lock "+l.path, err)
	}
	return nil
}

func inUse(store string, lock *os.File) error {
	return session.Errorf(session.CodeStoreUnavailable, "the session store %s is in use by %s; stop it or use another BERTH_STATE_DIR", store, holder(lock))
}

// holder names the process that has the lock, if it has written its ID.
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
		return fmt.Errorf("%s was removed or replaced, so that another process may be using the session store; restart Berth", l.path)
	}
	return nil
}

// release unlocks explicitly: a child process that is being started has the file open for a moment.
func (l *lock) release() {
	if l.file == nil {
		return
	}
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN) // if it fails, closing unlocks
	l.file.Close()
}
