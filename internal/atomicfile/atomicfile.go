// Package atomicfile replaces, makes and removes files so that no crash leaves a part of one.
//
// It knows temporary files, renames, links and directories. It refuses to know what is in a file, and to change more than
// one at a time.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"berth/internal/fileowner"
)

// Write makes data the file at path, whole or not at all, and returns when that is on the disk. The file gets the owner
// of what is at the path like, as [fileowner.Give] does it; with an empty like it belongs to this process's user.
func Write(path string, data []byte, mode fs.FileMode, like string) error {
	f, err := temporary(path, data, mode, like)
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // nothing to do when it has become the file
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Create does the same where no file is yet: a file that is there stays as it is, and is an [fs.ErrExist] error.
func Create(path string, data []byte, mode fs.FileMode, like string) error {
	f, err := temporary(path, data, mode, like)
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // the link below is what counts
	if err := f.Sync(); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace what another process has made meanwhile.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// temporary returns a temporary file beside path that holds data, perhaps in memory only.
func temporary(path string, data []byte, mode fs.FileMode, like string) (*renameio.PendingFile, error) {
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(mode), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return nil, err
	}
	if like != "" {
		err = fileowner.Give(f.File, like)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		return nil, errors.Join(err, f.Cleanup())
	}
	return f, nil
}

// Remove removes a file. One that is not there is not an error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir returns when the names in a directory are on the disk.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write the directory through to the disk: %w", err)
	}
	return nil
}
