package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"berth/internal/fileset"
)

// verify makes sure that the set in place is whole and valid, and describes it.
func (i *initializer) verify(outcome Outcome) (InitResult, error) {
	result := InitResult{Outcome: outcome, Dir: i.dir}
	server, client := ServerPaths(i.dir), ClientPaths(i.dir, Paths{})
	if err := i.verifyAuthority(server.CA); err != nil {
		return InitResult{}, err
	}
	serverFiles, warnings, err := loadFiles(server, x509.ExtKeyUsageServerAuth, i.now)
	if err != nil {
		return InitResult{}, err
	}
	lists, err := readRevocations(server.CA, serverFiles.authorities.all)
	if err != nil {
		return InitResult{}, err
	}
	if err := lists.complete(server.CA, serverFiles.authorities.all); err != nil {
		return InitResult{}, err
	}
	result.Warnings = append(result.Warnings, warnings...)
	_, warnings, err = loadFiles(client, x509.ExtKeyUsageClientAuth, i.now)
	if err != nil {
		return InitResult{}, err
	}
	result.Warnings = append(result.Warnings, warnings...)
	result.Certificates, err = DescribeDir(i.dir)
	return result, err
}

// verifyAuthority makes sure that ca-key.pem, if it is here, is the key of an authority in ca.pem.
func (i *initializer) verifyAuthority(caPath string) error {
	if _, err := readAuthorities(caPath, i.now); err != nil {
		return err
	}
	keyPath := filepath.Join(i.dir, CAKeyFile)
	data, err := ReadFile(keyPath)
	if errors.Is(err, ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	key, err := parseKey(data)
	if err != nil {
		return &FileError{Path: keyPath, Err: err, Advice: adviceForce}
	}
	certs, err := ReadCertificates(caPath)
	if err != nil {
		return err
	}
	for _, cert := range certs {
		if samePublicKey(cert.PublicKey, key.Public()) {
			return nil
		}
	}
	return &FileError{Path: keyPath, Err: fmt.Errorf("%w %s", ErrMismatch, caPath), Advice: adviceForce}
}

// keyWarnings tells whether others than the owner may read a key file.
func keyWarnings(path string) []Warning {
	info, err := fileset.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	text := fmt.Sprintf("mode %04o lets others than its owner use this key: chmod 0400 %s", info.Mode().Perm(), path)
	return []Warning{{Code: WarnKeyReadable, Path: path, Text: text}}
}

// expiryWarnings speaks up in the last third of a certificate's life.
func expiryWarnings(path string, cert *x509.Certificate, now time.Time) []Warning {
	life := cert.NotAfter.Sub(cert.NotBefore)
	if now.Before(cert.NotBefore.Add(life * 2 / 3)) {
		return nil
	}
	text := fmt.Sprintf("expires on %s: run berth certs renew", cert.NotAfter.UTC().Format(time.RFC3339))
	return []Warning{{Code: WarnExpiresSoon, Path: path, Text: text}}
}

// interruptedWarnings tells whether a change in the directory of path was interrupted.
func interruptedWarnings(path string) []Warning {
	if !fileset.Interrupted(filepath.Dir(path)) {
		return nil
	}
	return []Warning{{Code: WarnInterrupted, Path: path, Text: adviceInterrupted}}
}
