package pki

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"berth/internal/fileset"
)

// Modes that certificates must not have. A group may read a key: access lists of credentials and of mounted secrets look
// like that.
const (
	writableByOthers fs.FileMode = 0o022
	keyOfEverybody   fs.FileMode = 0o027
)

// exposures are the files of one end that others than their owner can change, the directories that they stand in included,
// and its key, or that of an authority beside the certificates, if everybody can read it. What cannot be looked at is somebody else's error.
func exposures(paths Paths) []FileError {
	var found []FileError
	seen := map[string]bool{}
	look := func(path string, forbidden fs.FileMode, err error, want string) {
		if seen[path] {
			return
		}
		seen[path] = true
		info, statErr := fileset.Stat(path)
		if statErr != nil || info.Mode().Perm()&forbidden == 0 {
			return
		}
		found = append(found, FileError{
			Path: path, Err: fmt.Errorf("mode %04o: %w", info.Mode().Perm(), err), Advice: fmt.Sprintf("chmod %s %s", want, path),
		})
	}
	files := []string{paths.CA, paths.Cert, crlPath(paths.CA), filepath.Join(filepath.Dir(paths.CA), recordsFile)}
	for _, path := range append(files, paths.Key) {
		look(filepath.Dir(path), writableByOthers, ErrExposed, "0700")
	}
	look(paths.Key, keyOfEverybody, ErrKeyExposed, "0400")
	for _, name := range []string{CAKeyFile, oldCAKey, nextCAKey} {
		look(filepath.Join(filepath.Dir(paths.CA), name), keyOfEverybody, ErrKeyExposed, "0400")
	}
	for _, path := range files {
		look(path, writableByOthers, ErrExposed, "0444")
	}
	return found
}
