package model

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"berth/internal/session"
)

// Key returns a provider's key as it is now. The error says in a sentence why there is none.
type Key func() (session.Secret, error)

// FixedKey is a key that does not change until the providers are replaced.
func FixedKey(key session.Secret) Key {
	return func() (session.Secret, error) {
		if err := validKey(key.Reveal()); err != nil {
			return "", err
		}
		return key, nil
	}
}

// How often a key's file is looked at, and for how long the key before counts while the file is being written.
const (
	keyInterval = 250 * time.Millisecond
	keyGrace    = time.Second
)

// maxKey is the most bytes of a key.
const maxKey = 8 << 10

// keyOfEverybody are the permissions that a key's file must not give; a group may read it.
const keyOfEverybody = 0o027

// KeyFile is a key in a file, which is read again when it has changed. Line breaks at its end do not belong to the key. A file that is
// missing, empty or readable by everybody is no key; for a second the one before counts, because writing a file is not one step.
func KeyFile(path string) Key {
	f := &keyFile{path: path}
	return f.get
}

type keyFile struct {
	path string

	mu      sync.Mutex
	checked time.Time
	stamp   fs.FileInfo
	good    time.Time // when the key was last seen in the file
	key     session.Secret
	err     error
}

func (f *keyFile) get() (session.Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.checked.IsZero() || now.Sub(f.checked) >= keyInterval {
		f.checked = now
		f.refresh(now)
	}
	return f.key, f.err
}

func (f *keyFile) refresh(now time.Time) {
	stamp, err := os.Stat(f.path)
	if err == nil && f.err == nil && sameFile(stamp, f.stamp) {
		f.good = now
		return
	}
	key, err := readKey(f.path)
	switch {
	case err == nil:
		f.key, f.err, f.stamp, f.good = key, nil, stamp, now
	case f.key != "" && now.Sub(f.good) < keyGrace:
		f.stamp = nil
	default:
		f.key, f.err, f.stamp = "", err, nil
	}
}

func sameFile(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// readKey reads a key's file. A named pipe reads as empty.
func readKey(path string) (session.Secret, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		return "", fmt.Errorf("the key's file %s cannot be read: %w", path, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("the key's file %s cannot be read: %w", path, err)
	}
	if mode := info.Mode().Perm(); mode&keyOfEverybody != 0 {
		return "", fmt.Errorf("the key's file %s has mode %04o, with which others can read or change it: chmod 0600 %s", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKey+1))
	if err != nil {
		return "", fmt.Errorf("the key's file %s cannot be read: %w", path, err)
	}
	key := strings.TrimRight(string(text), "\r\n")
	if err := validKey(key); err != nil {
		return "", fmt.Errorf("the key's file %s: %w", path, err)
	}
	return session.Secret(key), nil
}

// validKey returns an error for a text that is no key.
func validKey(key string) error {
	switch {
	case key == "":
		return errors.New("there is no key")
	case len(key) > maxKey:
		return fmt.Errorf("the key has more than %d characters", maxKey)
	case strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0:
		return errors.New("the key has spaces, or characters that no key has")
	}
	return nil
}
