package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// A set is written so that a crash at any moment leaves either the old set, or a state that the next run completes:
//
//  1. every file goes, synced, into .pending.tmp;
//  2. .pending.tmp is renamed to .pending: from here on the new set counts, and it is complete;
//  3. the files move out of .pending into place, keys first, the authority's certificate last;
//  4. the empty .pending goes.
//
// .pending.tmp at the start of a run is debris and is removed; .pending is finished from step 3. While .pending is there,
// certificates and keys in place may not belong together; loading them finds that out and says that init was interrupted.
const (
	pendingDir = ".pending"
	stagingDir = ".pending.tmp"
)

// fileOrder is the order in which a set is put in place.
func fileOrder() []string {
	return []string{CAKeyFile, ServerKeyFile, ClientKeyFile, ServerCertFile, ClientCertFile, CACertFile}
}

func fileMode(name string) fs.FileMode {
	if strings.HasSuffix(name, DockerKeyFile) {
		return 0o400
	}
	return 0o444
}

// stage does steps 1 and 2.
func (i *initializer) stage(set map[string][]byte) error {
	staging := filepath.Join(i.dir, stagingDir)
	if err := i.before("make staging directory"); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return fmt.Errorf("stage certificates: %w", err)
	}
	for _, name := range fileOrder() {
		if err := i.before("stage " + name); err != nil {
			return err
		}
		// The temporary file stays in the staging directory: a key shall not pass through the system's.
		err := renameio.WriteFile(filepath.Join(staging, name), set[name], fileMode(name),
			renameio.WithStaticPermissions(fileMode(name)), renameio.WithTempDir(staging))
		if err != nil {
			return fmt.Errorf("stage certificates: %w", err)
		}
	}
	if err := syncDir(staging); err != nil {
		return err
	}
	if err := i.before("commit"); err != nil {
		return err
	}
	if err := os.Rename(staging, filepath.Join(i.dir, pendingDir)); err != nil {
		return fmt.Errorf("commit certificates: %w", err)
	}
	return syncDir(i.dir)
}

// install does steps 3 and 4, from wherever an earlier run left them.
func (i *initializer) install() error {
	pending := filepath.Join(i.dir, pendingDir)
	if err := i.before("protect directory"); err != nil {
		return err
	}
	if err := os.Chmod(i.dir, 0o700); err != nil {
		return fmt.Errorf("protect certificate directory: %w", err)
	}
	for _, name := range fileOrder() {
		if !exists(filepath.Join(pending, name)) {
			continue
		}
		if err := i.before("install " + name); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(pending, name), filepath.Join(i.dir, name)); err != nil {
			return fmt.Errorf("install certificates: %w", err)
		}
	}
	if err := syncDir(i.dir); err != nil {
		return err
	}
	if err := i.before("finish"); err != nil {
		return err
	}
	if err := os.Remove(pending); err != nil {
		return fmt.Errorf("install certificates: %w", err)
	}
	return syncDir(i.dir)
}

// recover clears the traces of an interrupted run, and tells whether it completed that run's set.
func (i *initializer) recover() (completed bool, err error) {
	staging := filepath.Join(i.dir, stagingDir)
	if exists(staging) {
		if err := i.before("remove debris"); err != nil {
			return false, err
		}
		if err := os.RemoveAll(staging); err != nil {
			return false, fmt.Errorf("remove unfinished certificates: %w", err)
		}
	}
	if !exists(filepath.Join(i.dir, pendingDir)) {
		return false, nil
	}
	return true, i.install()
}

// lockDir keeps a second process from writing certificates in dir at the same time.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, openError(dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &FileError{Path: dir, Err: ErrLocked, Advice: "wait for it to end"}
		}
		return nil, fmt.Errorf("lock certificate directory %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
