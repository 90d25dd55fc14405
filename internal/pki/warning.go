package pki

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"berth/internal/fileset"
)

// Modes that certificates must not have. A group may read a key: access lists of credentials and of mounted
// secrets appear so.
const (
	writableByOthers fs.FileMode = 0o022
	keyOfEverybody   fs.FileMode = 0o027
)

// exposures returns the files of one end that other users than their owner can change, including their directories, and its key,
// or that of an authority beside the certificates, if every user can read it. Files that cannot be read are skipped: loading them
// reports the error.
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

// keyWarnings warns of a key file that other users than its owner may read.
func keyWarnings(path string) []Warning {
	info, err := fileset.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	text := fmt.Sprintf("mode %04o lets others than its owner use this key: chmod 0400 %s", info.Mode().Perm(), path)
	return []Warning{{Code: WarnKeyReadable, Path: path, Text: text}}
}

// expiryWarnings warns in the last third of a certificate's validity.
func expiryWarnings(path string, cert *x509.Certificate, now time.Time) []Warning {
	if now.Before(renewalTime(cert)) {
		return nil
	}
	text := fmt.Sprintf("expires on %s: run berth certs renew", cert.NotAfter.UTC().Format(time.RFC3339))
	return []Warning{{Code: WarnExpiresSoon, Path: path, Text: text}}
}

// interruptedWarnings reports whether a change in the directory of path was interrupted.
func interruptedWarnings(path string) []Warning {
	if !fileset.Interrupted(filepath.Dir(path)) {
		return nil
	}
	return []Warning{{Code: WarnInterrupted, Path: path, Text: adviceInterrupted}}
}

// listWarnings warns of overdue lists, which are still enforced.
func listWarnings(caPath string, lists Revocations, now time.Time) []Warning {
	var warnings []Warning
	for _, list := range lists {
		if Overdue(list, now) {
			text := fmt.Sprintf("the list of %s should have been replaced by %s; it is enforced as it is", list.Issuer, list.NextUpdate.UTC().Format(time.DateOnly))
			warnings = append(warnings, Warning{Code: WarnListOverdue, Path: crlPath(caPath), Text: text})
		}
	}
	return warnings
}
