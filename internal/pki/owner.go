package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"berth/internal/fileowner"
)

// giveTo gives a file that root has just written to whoever owns what it will replace or, if that is not there, the
// directory that it will stand in: a renewal must not take a key from the user who reads it.
func giveTo(file, replaced, dir string) error {
	like := replaced
	if info, err := os.Lstat(replaced); err != nil || !info.Mode().IsRegular() && !info.IsDir() {
		like = dir
	}
	err := fileowner.GivePath(file, like)
	if errors.Is(err, fs.ErrPermission) {
		return &FileError{Path: replaced, Err: err, Advice: "run this as the user who owns it, or with the right to give files away"}
	}
	if err != nil {
		return fmt.Errorf("stage certificates: %w", err)
	}
	return nil
}
